//! Limits on a template before it is compiled: the length of its source and of its expressions.
//!
//! The engine parses, folds and compiles an expression recursively over its operators, and evaluates constants during
//! compilation, when no fuel is counted. So expressions have a limited number of tokens, and literal lists must not be
//! multiplied.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

use super::python::float;

/// Largest size of a template in bytes; the longest published ones have about thirty thousand.
const LONGEST_SOURCE: usize = 1 << 20;

/// Largest number of tokens between `{{` and `}}` or `{%` and `%}`; the longest published ones have about a hundred.
const LONGEST_TAG: usize = 1000;

/// Largest number of consecutive `elif` tags.
const MOST_BRANCHES: usize = 500;

/// Returns an error if a template exceeds these limits, far above those of hand-written templates.
pub(super) fn check(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    if source.len() > LONGEST_SOURCE {
        return Err(refused(&format!("it has more than {LONGEST_SOURCE} bytes"), 1));
    }
    let mut tag = 0_usize;
    let mut branches = 0_usize;
    let mut brackets = Brackets::default();
    let mut written = Written::default();
    for token in tokenize(source, false, syntax.clone()) {
        // Invalid tokens are reported by the parser, with their place.
        let Ok((token, span)) = token else {
            return Ok(());
        };
        let line = usize::from(span.start_line);
        match token {
            Token::TemplateData(_) => continue,
            Token::VariableStart | Token::BlockStart => {
                tag = 0;
                brackets = Brackets::default();
                written = Written::default();
            }
            Token::Ident("elif") => branches += 1,
            _ => {}
        }
        tag += 1;
        if tag > LONGEST_TAG {
            let message = format!("a tag has more than {LONGEST_TAG} tokens");
            return Err(refused(&message, line));
        }
        if branches > MOST_BRANCHES {
            let message = format!("it has more than {MOST_BRANCHES} `elif`");
            return Err(refused(&message, line));
        }
        if written.joins_float(&token) {
            return Err(refused(
                "it joins text and a very large or small number that is written out",
                line,
            ));
        }
        if brackets.multiplies_list(&token) {
            return Err(refused(
                "it multiplies a list and a number that are written out",
                line,
            ));
        }
    }
    Ok(())
}

fn refused(what: &str, line: usize) -> Error {
    Error::new(ErrorKind::SyntaxError, format!("{what} (line {line})"))
}

/// Detects a number that is joined to a text during compilation: if such a number needs an exponent, the engine writes
/// it differently from Python.
#[derive(Default)]
struct Written {
    joins: bool,
    has_exponent: bool,
}

impl Written {
    fn joins_float(&mut self, token: &Token<'_>) -> bool {
        match token {
            Token::Tilde => self.joins = true,
            Token::Float(number) => self.has_exponent |= float(*number).contains('e'),
            _ => {}
        }
        self.joins && self.has_exponent
    }
}

/// The last token of an expression, as far as it decides what may follow.
#[derive(Clone, Copy, Default, PartialEq)]
enum Last {
    /// No token, an operator or an opening bracket: an operand follows.
    #[default]
    Operator,
    /// A `*` after an operand that may be a constant.
    Times,
    /// A `*` after a list or a tuple.
    ListTimes,
    /// A variable, or an expression that ends like one.
    Name,
    /// Another operand.
    Operand,
    /// A literal list or tuple, or an operand made from such.
    List,
}

/// An open bracket.
#[derive(Default)]
struct Group {
    /// It contains arguments, an index or a dictionary: its content is not its value.
    holds_arguments: bool,
    /// It follows a `*` directly.
    is_factor: bool,
    /// Its value is a literal list or tuple, or made from such.
    is_list: bool,
}

/// Tracks brackets to detect multiplied literal lists and tuples.
#[derive(Default)]
struct Brackets {
    open: Vec<Group>,
    last: Last,
}

impl Brackets {
    /// Whether this token shows that a literal list is multiplied.
    fn multiplies_list(&mut self, token: &Token<'_>) -> bool {
        let before = self.last;
        let is_name = matches!(token, Token::Ident(_));
        let mut is_multiplied = before == Last::ListTimes && !is_name;
        self.last = match token {
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => {
                let follows_value = matches!(before, Last::Name | Last::Operand | Last::List);
                self.open.push(Group {
                    holds_arguments: follows_value || matches!(token, Token::BraceOpen),
                    is_factor: before == Last::Times,
                    is_list: false,
                });
                if matches!(token, Token::BracketOpen) {
                    is_multiplied |= self.is_list();
                }
                Last::Operator
            }
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                let is_list = self.open.pop().is_some_and(|group| group.is_list);
                if is_list { Last::List } else { Last::Operand }
            }
            Token::Comma => {
                is_multiplied |= self.is_list();
                Last::Operator
            }
            Token::Mul if before == Last::List => Last::ListTimes,
            Token::Mul if before == Last::Operand => Last::Times,
            Token::Ident("in" | "and" | "or" | "not" | "is" | "if" | "else" | "elif") => Last::Operator,
            Token::Ident(_) => Last::Name,
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
                Last::Operand
            }
            _ => Last::Operator,
        };
        is_multiplied
    }

    /// Marks the innermost bracket as a list, and the brackets whose value it is. Returns whether one of them is a
    /// factor.
    fn is_list(&mut self) -> bool {
        let mut is_factor = false;
        for group in self
            .open
            .iter_mut()
            .rev()
            .take_while(|group| !group.holds_arguments)
        {
            group.is_list = true;
            is_factor |= group.is_factor;
        }
        is_factor
    }
}
