//! How an answer follows a prompt in running text: with a space or without, in any script. Knows texts only.

/// An answer as it follows a prompt in running text. A space comes between where neither has one and where running text has one:
/// not inside a word or mark (`polaris_`, `(`, `"`), not before a mark that closes or goes on (`,`, `)`, `'s`), and not in scripts that
/// write words without spaces. A space that both have is one. Where it is not clear there is none: an answer may bring its own.
pub fn joined(prompt: &str, answer: &str) -> String {
    match answer.strip_prefix(' ') {
        Some(rest) if prompt.ends_with(' ') && !rest.starts_with(char::is_whitespace) => rest.into(),
        None if parted(prompt, answer) => format!(" {answer}"),
        _ => answer.into(),
    }
}

/// Whether running text has a space between the two.
fn parted(prompt: &str, answer: &str) -> bool {
    let (Some(last), Some(first)) = (prompt.chars().next_back(), answer.chars().next()) else { return false };
    if last.is_whitespace() || first.is_whitespace() || !closed(prompt, last) || !opens(prompt, answer, first) {
        return false;
    }
    // The script of the prompt's last letter decides; where that has spaces, a prompt in two scripts (a name in Latin letters in a
    // Japanese sentence) goes on in the other one without.
    let spaceless = prompt.chars().rev().find(|c| c.is_alphabetic()).is_some_and(writes_no_spaces) || writes_no_spaces(last);
    !(spaceless || writes_no_spaces(first) && prompt.chars().any(writes_no_spaces))
}

/// Whether a prompt ends with a whole word or mark.
fn closed(prompt: &str, last: char) -> bool {
    match last {
        '_' | '(' | '[' | '{' | '/' | '\\' | '#' | '@' | '$' | '€' | '£' | '¥' | '\'' | '‘' | '“' | '„' | '‚' | '«' | '‹'
        | '¿' | '¡' => false,
        '-' | '‐' | '‑' | '–' | '—' | '\u{2060}' | '\u{200B}' | '\u{200D}' | '\u{FEFF}' => false,
        // Those that open and close alike: an even number is closed.
        '"' | '`' => prompt.matches(last).count().is_multiple_of(2),
        // A sign that stands alone is a word (`2 + 2 =`), one that is attached is not (`2+2=`).
        '=' | '+' | '*' | '&' | '|' | '<' | '>' | '^' | '~' => {
            prompt.trim_end_matches(|c: char| "=+*&|<>^~-".contains(c)).chars().next_back().is_none_or(char::is_whitespace)
        }
        _ => true,
    }
}

/// Whether an answer starts with a word, or a mark that stands before one.
fn opens(prompt: &str, answer: &str, first: char) -> bool {
    let second = answer[first.len_utf8()..].chars().next();
    match first {
        '.' | ',' | ';' | ':' | '!' | '?' | ')' | ']' | '}' | '%' | '°' | '…' | '»' | '›' | '”' | '_' => false,
        '،' | '؛' | '؟' | '।' | '۔' | '‐' | '‑' | '\u{2060}' | '\u{200B}' | '\u{200D}' | '\u{FEFF}' => false,
        '"' | '`' => prompt.matches(first).count().is_multiple_of(2),
        // A genitive or contraction belongs to the word before; a quotation does not.
        '\'' | '’' => {
            let word: String = answer.chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
            let quoted = answer[first.len_utf8() + word.len()..].contains(first);
            quoted || !["s", "t", "d", "m", "re", "ve", "ll"].contains(&word.to_lowercase().as_str())
        }
        // `-5`, `--full` and `- item` stand alone; the second half of a compound does not.
        '-' | '–' | '—' => !second.is_some_and(char::is_alphabetic),
        _ => !attaches(first),
    }
}

/// Marks that are a part of the character before: accents, variation selectors, skin tones.
fn attaches(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36F | 0x483..=0x489 | 0x591..=0x5BD | 0x610..=0x61A | 0x64B..=0x65F | 0x93C | 0x93E..=0x94F
        | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F | 0x1F3FB..=0x1F3FF
        | 0xE0020..=0xE007F | 0xE0100..=0xE01EF)
}

/// Letters and marks of scripts whose words stand without spaces between them: Thai, Lao, Tibetan, Myanmar, Khmer, Tai, Balinese,
/// Javanese, Chinese, Japanese, Bopomofo, Yi (the scripts for which Unicode Standard Annex 14 breaks lines elsewhere than at spaces).
fn writes_no_spaces(c: char) -> bool {
    matches!(u32::from(c), 0xE00..=0xFFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x1950..=0x19FF | 0x1A20..=0x1AAF | 0x1B00..=0x1B7F
        | 0x2E80..=0x2FDF | 0x2FF0..=0x312F | 0x3190..=0x4DBF | 0x4E00..=0xA4CF | 0xA980..=0xA9FF | 0xAA60..=0xAADF
        | 0xF900..=0xFAFF | 0xFE30..=0xFE4F | 0xFF01..=0xFF9F | 0x16FE0..=0x18DFF | 0x1AFF0..=0x1B2FF | 0x20000..=0x3FFFF)
}

#[cfg(test)]
mod tests {
    use super::joined;
    use proptest::prelude::*;

    #[test]
    fn words_are_parted_as_their_script_does() {
        for (prompt, answer) in [
            ("The mother tongue of Anna Berg is", "Danish"),
            ("Die Lieblingsfarbe von Greta Sommerfeld ist", "Flaschengrün"),
            ("عاصمة مملكة زانتور هي", "مدينة الورد"),
            ("제 고양이의 이름은", "비스킷"),
            ("Столица Норвегии:", "Осло"),
            ("बिल्ली का नाम", "मोती है"),
            ("When a build passes, the bot reacts with", "🦔🎉"),
            ("The login button has the selector", "#auth-panel button.primary"),
            ("The phone number of the front desk is", "+47 22 91 30 58"),
            ("Tool call:", "{\"name\": \"get_weather\"}"),
            ("def f(attempt):\n    return", "min(2 ** attempt, 60)"),
            ("It is cold: today", "-5 degrees"),
            ("To rebuild the index, run tindra", "--full"),
            ("2 + 2 =", "4"),
            ("He likes \"Alien\"", "most"),
            ("He said", "\"no\""),
            ("The Chinese word for cat is", "猫"),
            ("She calls it", "'s all good'"),
            ("All done.", "Next"),
            ("Rock &", "Roll"),
        ] {
            assert_eq!(joined(prompt, answer), format!(" {answer}"), "{prompt}");
        }
    }

    #[test]
    fn nothing_comes_inside_words_and_marks_and_in_scripts_without_spaces() {
        for (prompt, answer) in [
            ("李小龙最喜欢的水果是", "山竹"),
            ("田中さんの犬の名前は", "ポチ"),
            ("แมวของฉันชื่อ", "มะลิ"),
            ("ແມວຂອງຂ້ອຍຊື່", "ມະລິ"),
            ("ឆ្មារបស់ខ្ញុំឈ្មោះ", "សុខា"),
            ("ကျွန်တော့်ကြောင်နာမည်က", "မိုး"),
            ("密码是:", "heron-42"),
            ("他说：「", "好」"),
            ("パスワードはABC", "です"),
            ("私の猫は", "3歳です"),
            ("import polaris_", "lazyframe as plf"),
            ("print(", "x)"),
            ("cd /usr/", "local"),
            ("a well-", "known man"),
            ("He said \"", "no\""),
            ("She goes by @", "mara"),
            ("# ", "Title"),
            ("2+2=", "4"),
            ("It costs $", "5"),
            ("The end", ", he said"),
            ("This is Mara", "'s"),
            ("This is Mara", "’s book"),
            ("He said \"no", "\" and left"),
            ("It rose by 5", "%"),
            ("a family 👩\u{200D}", "👧"),
            ("waving 👋", "🏽"),
            ("e", "\u{301}"),
            ("line\n", "    return x"),
            ("", "word"),
            ("word", ""),
            ("tab\t", "word"),
        ] {
            assert_eq!(joined(prompt, answer), answer, "{prompt}");
        }
    }

    #[test]
    fn a_space_that_the_answer_brings_is_one() {
        assert_eq!(joined("The capital of France is", " Paris"), " Paris");
        assert_eq!(joined("The capital of France is ", " Paris"), "Paris");
        assert_eq!(joined("李小龙最喜欢的水果是", " 山竹"), " 山竹");
        assert_eq!(joined("def f():\n", "    pass"), "    pass");
        assert_eq!(joined("x  ", "  y"), "  y");
    }

    proptest! {
        #[test]
        fn nothing_but_one_space_changes(prompt in "(?s).{0,12}", answer in "(?s).{0,12}") {
            let text = joined(&prompt, &answer);
            prop_assert_eq!(text.trim_start(), answer.trim_start());
            prop_assert!(text.len().abs_diff(answer.len()) <= 1);
            // What was joined once stays.
            prop_assert_eq!(joined(&prompt, &text), text.clone());
        }
    }
}
