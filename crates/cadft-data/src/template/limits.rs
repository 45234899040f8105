//! What a template may cost before it runs: the length of its source and of its expressions.
//!
//! The engine parses, folds and compiles an expression by recursion over its operators, and it computes what is
//! constant while it compiles, where no fuel is counted. So an expression has a limited number of tokens and no list
//! is written out and multiplied.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

use super::python::float;

/// The longest template, in bytes; the longest published ones have some thirty thousand.
const LONGEST_SOURCE: usize = 1 << 20;

/// The most tokens between `{{` and `}}` or `{%` and `%}`; the longest of published templates has some hundred.
const LONGEST_TAG: usize = 1000;

/// The most `elif`s in a row of tags.
const MOST_BRANCHES: usize = 500;

/// Fails where a template is longer than any that is written by hand.
pub(super) fn check(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    if source.len() > LONGEST_SOURCE {
        return Err(refused(&format!("it has more than {LONGEST_SOURCE} bytes"), 1));
    }
    let mut tag = 0_usize;
    let mut branches = 0_usize;
    let mut brackets = Brackets::default();
    let mut written = Written::default();
    for token in tokenize(source, false, syntax.clone()) {
        // The parser reports what cannot be read, with its place.
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

/// What a tag has so far of a number that is joined to a text while the template is compiled: the engine writes such a
/// number otherwise than Python where it needs an exponent.
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

/// The last token of an expression, as far as it says what may follow.
#[derive(Clone, Copy, Default, PartialEq)]
enum Last {
    /// Nothing, an operator or an opening bracket: an operand follows.
    #[default]
    Operator,
    /// A `*` after an operand that may be known when the template is compiled.
    Times,
    /// A `*` after a list or a tuple.
    ListTimes,
    /// A variable, or what ends like one.
    Name,
    /// Another operand.
    Operand,
    /// An operand that is a list or a tuple that is written out, or made of such.
    List,
}

/// An open bracket.
#[derive(Default)]
struct Group {
    /// It holds arguments, an index or a dictionary: what is in it is not its value.
    holds_arguments: bool,
    /// It stands right after a `*`.
    is_factor: bool,
    /// Its value is a list or a tuple that is written out, or made of such.
    is_list: bool,
}

/// Follows brackets to tell lists and tuples that are written out and multiplied.
#[derive(Default)]
struct Brackets {
    open: Vec<Group>,
    last: Last,
}

impl Brackets {
    /// Whether this token shows that one is multiplied.
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

    /// The innermost bracket, and those that it is the value of, are lists; whether one of them is a factor.
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
