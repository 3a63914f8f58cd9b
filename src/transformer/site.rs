//! Where a linear layer stands in a transformer, and what others call it. Plain names; knows no numbers.

/// A linear layer, by what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Linear {
    /// Queries: heads * head_dim x width.
    Q,
    /// Keys: kv_heads * head_dim x width.
    K,
    /// Values: kv_heads * head_dim x width.
    V,
    /// What attention mixed, back into the residual: width x heads * head_dim.
    O,
    /// Feed-forward, the half that goes through SiLU: feed_forward x width.
    Gate,
    /// Feed-forward, the half that it is multiplied with: feed_forward x width.
    Up,
    /// Feed-forward, back into the residual: width x feed_forward.
    Down,
    /// Logits, after all layers: vocabulary x width.
    Head,
}

impl Linear {
    /// Those of every layer, in the order in which they are computed.
    pub const IN_LAYER: [Linear; 7] = [Linear::Q, Linear::K, Linear::V, Linear::O, Linear::Gate, Linear::Up, Linear::Down];

    /// The name that PEFT's `target_modules` uses.
    pub fn name(self) -> &'static str {
        let module = self.module();
        module.rsplit_once('.').map_or(module, |(_, name)| name)
    }

    /// Where a layer of Hugging Face's models has it.
    pub fn module(self) -> &'static str {
        match self {
            Linear::Q => "self_attn.q_proj",
            Linear::K => "self_attn.k_proj",
            Linear::V => "self_attn.v_proj",
            Linear::O => "self_attn.o_proj",
            Linear::Gate => "mlp.gate_proj",
            Linear::Up => "mlp.up_proj",
            Linear::Down => "mlp.down_proj",
            Linear::Head => "lm_head",
        }
    }

    /// What llama.cpp calls it.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Linear::Q => "attn_q",
            Linear::K => "attn_k",
            Linear::V => "attn_v",
            Linear::O => "attn_output",
            Linear::Gate => "ffn_gate",
            Linear::Up => "ffn_up",
            Linear::Down => "ffn_down",
            Linear::Head => "output",
        }
    }

    /// The linear layer of this name.
    pub fn named(name: &str) -> Option<Linear> {
        Linear::IN_LAYER.into_iter().chain([Linear::Head]).find(|l| l.name() == name)
    }
}

/// One linear layer of the model. `layer` is 0 for `Linear::Head`, which stands after all layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Decoder layer, from 0.
    pub layer: usize,
    /// Which of its linear layers.
    pub linear: Linear,
}

impl Site {
    /// The one output layer.
    pub const HEAD: Site = Site { layer: 0, linear: Linear::Head };
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.linear {
            Linear::Head => f.write_str("lm_head"),
            linear => write!(f, "layers.{}.{}", self.layer, linear.name()),
        }
    }
}
