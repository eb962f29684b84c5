//! How the reading of a configuration looks at files: by itself, or through what another process has seen.
//!
//! A running sexton opens no file that another user can change: a lease on it (fcntl(2)), a named pipe or a filesystem
//! that hangs would block PID 1. So a separate process reads the configuration again and records every answer that it
//! got. Then sexton reads the configuration from these answers and opens no file.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What was seen, by question.
pub type Answers = BTreeMap<String, Value>;

/// How files are looked at.
#[derive(Debug, Default)]
pub enum FileAccess {
    /// They are looked at.
    #[default]
    Direct,
    /// They are looked at, and what is seen is recorded.
    Recording(RefCell<Answers>),
    /// What was recorded is all that is known.
    Recorded(Answers),
}

impl FileAccess {
    /// Calls `look`, or returns the recorded answer. A failure is not recorded: the process that looks ends with it.
    ///
    /// # Errors
    /// What `look` says.
    pub fn ask<T: Serialize + DeserializeOwned>(
        &self,
        question: &str,
        look: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let words = |error: serde_json::Error| error.to_string();
        match self {
            FileAccess::Direct => look(),
            FileAccess::Recording(answers) => {
                let seen = look()?;
                let answer = serde_json::to_value(&seen).map_err(words)?;
                answers.borrow_mut().insert(question.to_owned(), answer);
                Ok(seen)
            }
            FileAccess::Recorded(answers) => {
                let answer = answers.get(question).ok_or_else(|| format!("{question} was not looked at"))?;
                T::deserialize(answer).map_err(words)
            }
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn into_answers(self) -> Answers {
        match self {
            FileAccess::Direct => Answers::new(),
            FileAccess::Recording(answers) => answers.into_inner(),
            FileAccess::Recorded(answers) => answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_told_again_without_a_look() {
        let recording = FileAccess::Recording(RefCell::default());
        assert_eq!(recording.ask("text", || Ok("a\n".to_owned())), Ok("a\n".to_owned()));
        assert_eq!(recording.ask("owner", || Ok(Some(7))), Ok(Some(7)));
        assert_eq!(recording.ask::<bool>("broken", || Err("no".to_owned())), Err("no".to_owned()));
        let told = serde_json::to_vec(&recording.into_answers()).unwrap();
        let recorded = FileAccess::Recorded(serde_json::from_slice(&told).unwrap());
        let never = || -> Result<String, String> { panic!("it looks") };
        assert_eq!(recorded.ask("text", never), Ok("a\n".to_owned()));
        assert_eq!(recorded.ask("owner", || Ok(None::<u32>)), Ok(Some(7)));
        assert!(recorded.ask("broken", never).is_err() && recorded.ask("another", never).is_err());
        assert!(recorded.ask("owner", never).is_err(), "it has another form");
    }
}
