//! Targets of jumps.

use minijinja::machinery::Instruction;

/// The target of a jump; `None` for other instructions.
pub(super) fn target(instruction: &Instruction<'_>) -> Option<u32> {
    match instruction {
        Instruction::Iterate(place)
        | Instruction::Jump(place)
        | Instruction::JumpIfFalse(place)
        | Instruction::JumpIfFalseOrPop(place)
        | Instruction::JumpIfTrueOrPop(place)
        | Instruction::BuildMacro(_, place, _) => Some(*place),
        _ => None,
    }
}

pub(super) fn target_mut<'i>(instruction: &'i mut Instruction<'_>) -> Option<&'i mut u32> {
    match instruction {
        Instruction::Iterate(place)
        | Instruction::Jump(place)
        | Instruction::JumpIfFalse(place)
        | Instruction::JumpIfFalseOrPop(place)
        | Instruction::JumpIfTrueOrPop(place)
        | Instruction::BuildMacro(_, place, _) => Some(place),
        _ => None,
    }
}
