//! Where an instruction continues.

use minijinja::machinery::Instruction;

/// Where an instruction jumps to.
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
