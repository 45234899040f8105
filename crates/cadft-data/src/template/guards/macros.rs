//! The arguments `varargs` and `kwargs`, which a macro gets without declaring them if it uses them.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::machinery::{Instruction, Instructions};

use super::{Known, Writer};
use crate::template::globals::{KWARGS, VARARGS};

/// `varargs` and `kwargs` of macros that use but do not declare them, by the start of the macro.
pub(super) fn hidden(original: &Instructions<'_>) -> BTreeMap<u32, Vec<&'static str>> {
    let mut found = BTreeMap::new();
    let mut enclosed = Vec::new();
    for instruction in (0..).map_while(|index| original.get(index)) {
        match instruction {
            Instruction::Enclose(name) => {
                enclosed.extend([VARARGS, KWARGS].into_iter().filter(|hidden| hidden == name));
            }
            Instruction::GetClosure | Instruction::LoadConst(_) => {}
            Instruction::BuildMacro(_, start, _) if !enclosed.is_empty() => {
                found.insert(*start, std::mem::take(&mut enclosed));
            }
            _ => enclosed.clear(),
        }
    }
    found
}

impl Writer<'_, '_> {
    /// Whether the next macro, for which these names are enclosed, has hidden arguments.
    pub(super) fn encloses_hidden(&self) -> bool {
        self.next_macro()
            .is_some_and(|start| self.hidden.contains_key(&start))
    }

    /// The start of the macro to whose declaration this instruction belongs.
    fn next_macro(&self) -> Option<u32> {
        for index in self.index.. {
            match self.original.get(index)? {
                Instruction::Enclose(_) | Instruction::GetClosure | Instruction::LoadConst(_) => {}
                Instruction::BuildMacro(_, start, _) => return Some(*start),
                _ => return None,
            }
        }
        None
    }

    /// If this constant holds the argument names of a macro with hidden arguments, writes them with the hidden ones.
    pub(super) fn declares(&mut self, value: &Value) -> bool {
        let names = self
            .next_macro()
            .and_then(|start| self.hidden.get(&start))
            .cloned();
        let Some(hidden) = names.filter(|_| value.as_object().is_some()) else {
            return false;
        };
        let declared: Vec<Value> = value.try_iter().into_iter().flatten().collect();
        let all = declared.into_iter().chain(hidden.into_iter().map(Value::from));
        self.add(Instruction::LoadConst(Value::from_object(
            all.collect::<Vec<Value>>(),
        )));
        self.stack.push(Known::Nothing);
        true
    }
}
