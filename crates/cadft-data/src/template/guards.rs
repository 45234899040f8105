//! Inserts checks into the instructions of a template.
//!
//! The engine counts the bytes of strings before it creates them. But it joins lists lazily, does not look into values
//! that contain others, and compares, nests and frees values recursively. So a filter of `checked` is called before an
//! instruction that walks a value, and after one that creates a list. The filter pays for the walk from the rendering's
//! fuel, limits the nesting depth, and makes every list a real one. If an operand is known to be a string or a number,
//! no check is needed. This is the usual case in published templates.

mod jumps;
mod macros;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Value;
use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::ObjectRepr;

use super::globals::{KWARGS, VARARGS};
use super::python::as_float;
use super::{checked, methods};
use jumps::{target, target_mut};
use macros::hidden;

/// Number of filters of a template that the engine caches by number.
const NUMBERED: u8 = 50;

/// What is known about a value on the stack.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Known {
    /// Nothing.
    Nothing,
    /// It contains no other values.
    Flat,
    /// It is a literal without other values, and is written the same way in any language.
    Written,
}

/// Filters whose result contains no other values.
const FLAT: [&str; 9] = [
    "int", "join", "length", "lower", "replace", "string", "tojson", "trim", "upper",
];

/// The instructions of a template or of one of its blocks, with checks inserted.
pub(super) fn guarded<'a>(original: &Instructions<'a>) -> Instructions<'a> {
    let all = || (0..).map_while(|index| original.get(index));
    let targets: BTreeSet<u32> = all().filter_map(target).collect();
    let numbers = all().filter_map(|instruction| match instruction {
        Instruction::ApplyFilter(_, _, number) if *number < NUMBERED => Some(number + 1),
        _ => None,
    });
    let mut writer = Writer {
        instructions: Instructions::new(original.name(), original.source()),
        len: 0,
        index: 0,
        original,
        stack: Vec::new(),
        numbers: BTreeMap::new(),
        next_number: numbers.max().unwrap_or(0),
        hidden: hidden(original),
    };
    let mut places = Vec::new();
    for (index, instruction) in (0..).zip(all()) {
        if targets.contains(&index) {
            writer.stack.clear();
        }
        places.push(writer.len);
        writer.index = index;
        writer.guard(instruction);
    }
    places.push(writer.len);
    let Writer {
        mut instructions,
        len,
        ..
    } = writer;
    for index in 0..len {
        if let Some(place) = instructions.get_mut(index).and_then(target_mut) {
            *place = places.get(*place as usize).copied().unwrap_or(len);
        }
    }
    instructions
}

/// Writes instructions with their checks, and tracks what is known about the values on the stack.
struct Writer<'o, 'a> {
    instructions: Instructions<'a>,
    len: u32,
    original: &'o Instructions<'a>,
    /// The index of the current original instruction; its checks get the same source location.
    index: u32,
    /// What is known about the top of the stack; nothing is known about deeper values.
    stack: Vec<Known>,
    numbers: BTreeMap<&'static str, u8>,
    next_number: u8,
    /// The undeclared arguments that macros use, by the start of the macro.
    hidden: BTreeMap<u32, Vec<&'static str>>,
}

impl<'a> Writer<'_, 'a> {
    fn add(&mut self, instruction: Instruction<'a>) {
        let line = self
            .original
            .get_line(self.index)
            .and_then(|line| u16::try_from(line).ok());
        match (self.original.get_span(self.index), line) {
            (Some(span), _) => self.instructions.add_with_span(instruction, span),
            (None, Some(line)) => self.instructions.add_with_line(instruction, line),
            (None, None) => self.instructions.add(instruction),
        };
        self.len += 1;
    }

    /// Calls a filter of `checked` on the topmost values.
    fn check(&mut self, name: &'static str, values: u16) {
        let next = &mut self.next_number;
        let number = *self.numbers.entry(name).or_insert_with(|| {
            let number = if *next < NUMBERED { *next } else { u8::MAX };
            *next = next.saturating_add(1);
            number
        });
        self.add(Instruction::ApplyFilter(name, Some(values), number));
    }

    fn pop(&mut self) -> Known {
        self.stack.pop().unwrap_or(Known::Nothing)
    }

    /// Pops values; returns whether all are known at least this well.
    fn all_known(&mut self, count: usize, least: Known) -> bool {
        let known: Vec<_> = (0..count).map(|_| self.pop()).collect();
        known.iter().all(|known| *known >= least)
    }

    /// Checks the two topmost values, except those for which `enough` is true.
    fn check_two(&mut self, name: &'static str, right_name: &'static str, enough: [bool; 2]) {
        let [left, right] = enough;
        if !right {
            self.check(right_name, 1);
        }
        if !left {
            self.add(Instruction::Swap);
            self.check(name, 1);
            self.add(Instruction::Swap);
        }
    }

    fn guard(&mut self, instruction: &Instruction<'a>) {
        // A macro first takes its arguments from the stack, the last one first.
        for name in self
            .hidden
            .get(&self.index)
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .rev()
        {
            self.add(Instruction::StoreLocal(name));
        }
        match instruction {
            Instruction::LoadConst(value) => self.constant(value),
            Instruction::Enclose(name) if [VARARGS, KWARGS].contains(name) && self.encloses_hidden() => {}
            Instruction::BuildMacro(_, start, _) if self.hidden.contains_key(start) => {
                self.replace(instruction, usize::MAX, None);
                self.check("@variadic", 1);
            }
            Instruction::Rem => {
                self.check("@modulo", 2);
                self.all_known(2, Known::Nothing);
                self.stack.push(Known::Flat);
            }
            Instruction::GetAttr(name) if methods::is_method(name) => {
                self.add(Instruction::LoadConst(Value::from(*name)));
                self.named("@attribute");
            }
            Instruction::GetItem if self.follows_method_name() => self.named("@item"),
            Instruction::Add
            | Instruction::Mul
            | Instruction::StringConcat
            | Instruction::In
            | Instruction::Eq
            | Instruction::Ne
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::CompareAndPreserve(_) => self.binary(instruction),
            Instruction::BuildList(_)
            | Instruction::BuildTuple(_)
            | Instruction::BuildMap(_)
            | Instruction::MergeKwargs(_) => self.build(instruction),
            Instruction::ApplyFilter(..)
            | Instruction::PerformTest(..)
            | Instruction::CallMethod(..)
            | Instruction::CallFunction(..) => self.call(instruction),
            Instruction::GetItem => {
                if self.pop() != Known::Written {
                    self.check("@measured", 1);
                }
                self.replace(instruction, 1, Some(Known::Nothing));
            }
            Instruction::Slice => {
                self.check("@slice", 4);
                self.all_known(4, Known::Nothing);
                self.stack.push(Known::Nothing);
            }
            Instruction::SetAttr(_) => {
                self.pop();
                let value = self.pop();
                self.check_two("@stored", "", [value >= Known::Flat, true]);
                self.add(instruction.clone());
            }
            Instruction::PushLoop(_) => {
                if self.pop() != Known::Written {
                    self.check("@looped", 1);
                }
                self.replace(instruction, usize::MAX, None);
            }
            Instruction::Include(_) | Instruction::LoadBlocks => {
                self.check("@file", 1);
                self.replace(&Instruction::DiscardTop, usize::MAX, None);
            }
            _ => self.plain(instruction),
        }
    }

    /// Whether the previous instruction loads the name of a dictionary method.
    fn follows_method_name(&self) -> bool {
        let before = self
            .index
            .checked_sub(1)
            .and_then(|index| self.original.get(index));
        matches!(before, Some(Instruction::LoadConst(value)) if value.as_str().is_some_and(methods::is_method))
    }

    /// Calls a filter of `checked` on a value and a name.
    fn named(&mut self, name: &'static str) {
        self.check(name, 2);
        self.all_known(2, Known::Nothing);
        self.stack.push(Known::Nothing);
    }

    fn constant(&mut self, value: &Value) {
        if self.declares(value) {
            return;
        }
        self.add(Instruction::LoadConst(value.clone()));
        let object = value.as_object();
        if object.is_some_and(|object| object.repr() == ObjectRepr::Iterable) {
            self.check("@settled", 1);
        }
        self.stack.push(match object {
            Some(_) => Known::Nothing,
            None if as_float(value).is_some() || value.is_none() => Known::Flat,
            None => Known::Written,
        });
    }

    fn binary(&mut self, instruction: &Instruction<'a>) {
        let right = self.pop();
        let left = self.pop();
        let one_is_written = left == Known::Written || right == Known::Written;
        match instruction {
            Instruction::StringConcat => {
                self.check_two(
                    "@text",
                    "@text",
                    [left == Known::Written, right == Known::Written],
                );
            }
            Instruction::In => {
                let enough = [left == Known::Written, right >= Known::Flat];
                self.check_two("@written", "@searched", enough);
            }
            Instruction::Add | Instruction::Mul => {}
            _ => self.check_two("@measured", "@measured", [one_is_written; 2]),
        }
        self.add(instruction.clone());
        let is_flat = match instruction {
            Instruction::Add => left >= Known::Flat || right >= Known::Flat,
            Instruction::Mul => left >= Known::Flat && right >= Known::Flat,
            Instruction::CompareAndPreserve(_) => {
                self.stack.clear();
                true
            }
            _ => true,
        };
        if !is_flat {
            self.check("@settled", 1);
        }
        self.stack
            .push(if is_flat { Known::Flat } else { Known::Nothing });
    }

    fn build(&mut self, instruction: &Instruction<'a>) {
        self.add(instruction.clone());
        let is_small = match instruction {
            Instruction::BuildList(Some(count)) | Instruction::BuildTuple(Some(count)) => {
                self.all_known(*count, Known::Flat)
            }
            Instruction::BuildMap(count) => self.all_known(*count * 2, Known::Written),
            _ => {
                self.stack.clear();
                false
            }
        };
        match instruction {
            Instruction::MergeKwargs(_) => self.check("@arguments", 1),
            _ if is_small => {}
            _ => self.check("@measured", 1),
        }
        self.stack.push(Known::Nothing);
    }

    fn call(&mut self, instruction: &Instruction<'a>) {
        let (count, result) = match instruction {
            // The engine caches a filter by its number, which the checked version takes over. `trim` has both versions.
            Instruction::ApplyFilter(name, count, number) => {
                match checked::filter_name(name, *count) {
                    Some(checked) if *name == "trim" => {
                        self.add(Instruction::ApplyFilter(checked, *count, u8::MAX));
                    }
                    Some(checked) => self.add(Instruction::ApplyFilter(checked, *count, *number)),
                    None => self.add(instruction.clone()),
                }
                let is_flat = FLAT.contains(name);
                (count, if is_flat { Known::Flat } else { Known::Nothing })
            }
            Instruction::PerformTest(name, count, number) => {
                match checked::test_name(name) {
                    Some(checked) => self.add(Instruction::PerformTest(checked, *count, *number)),
                    None => self.add(instruction.clone()),
                }
                (count, Known::Flat)
            }
            Instruction::CallMethod(name, count) => {
                match *name {
                    "changed" => self.add(Instruction::ApplyFilter("@changed", *count, u8::MAX)),
                    "cycle" => self.add(Instruction::ApplyFilter("@cycle", *count, u8::MAX)),
                    _ => self.add(instruction.clone()),
                }
                (count, Known::Nothing)
            }
            Instruction::CallFunction(_, count) => {
                self.add(instruction.clone());
                (count, Known::Nothing)
            }
            _ => return,
        };
        match count {
            Some(count) => {
                self.all_known(usize::from(*count), Known::Nothing);
            }
            None => self.stack.clear(),
        }
        self.stack.push(result);
    }

    /// Copies an instruction without checks.
    fn plain(&mut self, instruction: &Instruction<'a>) {
        let (popped, pushed) = match instruction {
            Instruction::EmitRaw(_) | Instruction::BeginCapture(_) => (0, None),
            Instruction::Emit | Instruction::StoreLocal(_) | Instruction::DiscardTop => (1, None),
            Instruction::Lookup(_) => (0, Some(Known::Nothing)),
            Instruction::GetAttr(_) => (1, Some(Known::Nothing)),
            Instruction::Not | Instruction::Neg | Instruction::IsUndefined => (1, Some(Known::Flat)),
            Instruction::Sub | Instruction::Div | Instruction::IntDiv | Instruction::Pow => {
                (2, Some(Known::Flat))
            }
            Instruction::EndCapture => (0, Some(Known::Flat)),
            _ => (usize::MAX, None),
        };
        self.replace(instruction, popped, pushed);
    }

    /// Writes an instruction that pops values and may push one.
    fn replace(&mut self, instruction: &Instruction<'a>, popped: usize, pushed: Option<Known>) {
        self.add(instruction.clone());
        let left = self.stack.len().saturating_sub(popped);
        self.stack.truncate(left);
        self.stack.extend(pushed);
    }
}
