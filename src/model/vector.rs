//! Which vector instructions this processor has. Everything that runs on lanes is built for each level and chosen at run time.

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            Level::Portable => "portable",
        }
    }
}

/// All that this processor can run, the widest first.
pub fn levels() -> Vec<Level> {
    let mut levels = vec![];
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let found = [
            is_x86_feature_detected!("avx512f"),
            is_x86_feature_detected!("avx512dq"),
            is_x86_feature_detected!("avx512bw"),
            is_x86_feature_detected!("avx512vl"),
        ];
        if avx2 && found.iter().all(|f| *f) {
            levels.push(Level::Avx512);
        }
        if avx2 {
            levels.push(Level::Avx2);
        }
    }
    levels.push(Level::Portable);
    levels
}

/// The widest that this processor can run.
pub fn level() -> Level {
    static LEVEL: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *LEVEL.get_or_init(|| levels()[0])
}
