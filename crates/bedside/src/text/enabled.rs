//! The text encoder.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bedside_core::text::one_line;
use bedside_engine::{Session, Value};
use tokenizers::Tokenizer;

use crate::error::{Error, ErrorKind};

/// Longest prompt in tokens, start and end included; bounds the work of one prompt.
const MAX_TOKENS: usize = 64;

/// Text graph and tokenizer of a bundle.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    session: Box<dyn Session>,
    token_dim: usize,
}

impl TextEncoder {
    /// Whether this build has it.
    pub(crate) fn available() -> Result<(), Error> {
        Ok(())
    }

    /// From a `tokenizer.json` and a graph that gives `[1, T, token_dim]` for token ids `[1, T]`.
    pub(crate) fn new(
        tokenizer: impl FnOnce() -> Result<Vec<u8>, Error>,
        graph: impl FnOnce() -> Result<Box<dyn Session>, Error>,
        token_dim: usize,
    ) -> Result<Self, Error> {
        let json = tokenizer()?;
        let tokenizer = guarded(|| {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None)?;
            Ok(tokenizer)
        })?;
        Ok(Self {
            tokenizer: tokenizer.map_err(|why| broken(&why))?,
            session: graph()?,
            token_dim,
        })
    }

    /// Token rows `[T, token_dim]` of a prompt, lower-cased as in training.
    pub(crate) fn encode(&mut self, prompt: &str) -> Result<Vec<f32>, Error> {
        let refuse =
            |why: String| Error::new(ErrorKind::Prompt, format!("prompt '{prompt}': {why}"));
        if prompt.trim().is_empty() {
            return Err(refuse(
                "no words; hint: name an object, such as 'polyp'".into(),
            ));
        }
        let words = prompt.trim().to_lowercase();
        let encoding = guarded(|| self.tokenizer.encode(words, true))?.map_err(refuse)?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|id| i64::from(*id)).collect();
        let rows = ids.len();
        if rows > MAX_TOKENS {
            return Err(refuse(format!(
                "{rows} tokens; hint: use at most {MAX_TOKENS}"
            )));
        }
        let inputs = self
            .session
            .signature()
            .inputs
            .iter()
            .map(|input| {
                let data = match input.name.as_str() {
                    "attention_mask" => vec![1; rows],
                    "token_type_ids" => vec![0; rows],
                    _ => ids.clone(),
                };
                Value::i64(&[1, rows], &data)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let outputs = self.session.run(&inputs)?;
        let tokens = match outputs.first() {
            Some(value) => value.to_f32()?.into_owned(),
            None => Vec::new(),
        };
        if tokens.len() != rows * self.token_dim || tokens.iter().any(|t| !t.is_finite()) {
            return Err(Error::new(
                ErrorKind::Engine,
                format!(
                    "the text graph's answer to '{prompt}' is not {rows} rows of finite values"
                ),
            ));
        }
        Ok(tokens)
    }
}

/// What tokenizers do with a bundle's file: they panic on some that make no sense.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<Result<T, String>, Error> {
    let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| broken("it makes no sense"))?;
    Ok(done.map_err(|why| why.to_string()))
}

fn broken(why: &str) -> Error {
    let why = one_line(why);
    let message = format!("tokenizer of the bundle: {why}; hint: export it again");
    Error::new(ErrorKind::Bundle, message)
}
