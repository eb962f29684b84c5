//! What is known of OpenClaw's command line, which a gateway's command tells. Pure.

use std::path::Path;

/// The words that run OpenClaw's own command line, `openclaw` or `node /app/openclaw.mjs`, if this command is its
/// gateway's: what stands before the word `gateway`.
pub fn command_line(command: &[String]) -> Option<Vec<String>> {
    let end = command.iter().position(|word| word == "gateway")?;
    let words = command.get(..end)?;
    let ours = |word: &String| {
        let name = Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        matches!(name, "openclaw" | "openclaw.mjs" | "openclaw.js") || word.contains("/openclaw/")
    };
    words.iter().any(ours).then(|| words.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_before_gateway_are_the_command_line() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            command_line(&words).map(|words| words.join(" "))
        };
        assert_eq!(of("openclaw gateway run").as_deref(), Some("openclaw"));
        assert_eq!(of("env A=b /x/bin/openclaw gateway").as_deref(), Some("env A=b /x/bin/openclaw"));
        assert_eq!(of("node openclaw.mjs gateway --port 1").as_deref(), Some("node openclaw.mjs"));
        assert_eq!(
            of("node /app/openclaw/dist/index.js gateway").as_deref(),
            Some("node /app/openclaw/dist/index.js")
        );
        assert_eq!(of("npm run gateway"), None);
        assert_eq!(of("openclaw doctor"), None);
    }
}
