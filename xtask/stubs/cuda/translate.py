"""Compiles a kernel that CubeCL wrote in CUDA C++ for the CPU: `python3 translate.py KERNEL.cu` makes KERNEL.so.

What a kernel needs of CUDA is in `device.h`. Here are the parts of the language that a C++ compiler cannot be told
about: shared memory, and PTX.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# CubeCL defines these as other types than the C library does.
RENAMED = ["int64_t", "uint64_t"]
OPERAND = re.compile(r'"[=+]?\w"\(((?:[^()]|\([^()]*\))*)\)')
ASM = re.compile(r'asm\s*(?:volatile)?\s*\("((?:[^"\\]|\\.)*)"\s*:([^:;]*):([^:;]*)(?::[^;]*)?\);')
SHARED = re.compile(r"extern __shared__ __align__\(\d+\) char (\w+)\[\];")
ENTRY = re.compile(r'extern "C" __global__ void\s+__launch_bounds__\(\d+\)\s+(?:__cluster_dims__\([^)]*\))?\s*(\w+)\(')


def assigned(outputs: list[str]) -> str:
    return "".join(f"{output} = D[{index}];" for index, output in enumerate(outputs))


def ptx(match: re.Match) -> str:
    """The functions of `device.h` that do what an instruction does."""
    text = match.group(1)
    outputs, inputs = OPERAND.findall(match.group(2)), OPERAND.findall(match.group(3))
    if "elect.sync" in text:
        return f"{outputs[0]} = elect();"
    if found := re.match(r"(max|min)\.NaN\.f32 %0, %1, %2;", text):
        a, b = inputs
        return f"{outputs[0]} = isnan({a}) || isnan({b}) ? NAN : f{found[1]}f({a}, {b});"
    if re.match(r"atom\.relaxed\.add\.f32 %0, \[%1\], %2;", text):
        return f"{outputs[0]} = add_atomically((float*){inputs[0]}, {inputs[1]});"
    if found := re.match(r"mma\.sync\.aligned\.m16n8k(16|8)\.row\.col\.f32\.(bf16\.bf16|tf32\.tf32)\.f32 ", text):
        a, b, c = (",".join(part) for part in (inputs[:4], inputs[4:6], inputs[6:]))
        fragments = f"uint32_t A[] = {{{a}}}, B[] = {{{b}}}; float C[] = {{{c}}}, D[4];"
        return f"{{ {fragments} multiply_fragments<{found[1]}>(D, A, B, C); {assigned(outputs)} }}"
    if found := re.match(r"ldmatrix\.sync\.aligned\.m8n8\.x(\d)(\.trans)?\.shared::cta\.b16 ", text):
        transposed = "true" if found[2] else "false"
        return f"{{ uint32_t D[4]; load_fragments<{found[1]}, {transposed}>(D, {inputs[0]}); {assigned(outputs)} }}"
    sys.exit(f"an instruction that is not emulated: {match.group(0)}")


def main() -> None:
    source = Path(sys.argv[1])
    text = SHARED.sub(r"char* \1 = shared_memory;", ASM.sub(ptx, source.read_text(encoding="utf-8")))
    if left := re.search(r"\basm\b|__shared__", text):
        sys.exit(f"`{left[0]}` in a form that is not known")
    kernel = ENTRY.search(text)[1]
    # The headers of CUDA are not there.
    text = re.sub(r"^#include <.*>$", "", text, flags=re.MULTILINE)
    renamed = "".join(f"#define {name} cubecl_{name}\n" for name in RENAMED)
    run = f'extern "C" void run_kernel(void** parameters) {{ call({kernel}, parameters); }}\n'
    translated, result = source.with_suffix(".cpp"), source.with_suffix(".so")
    translated.write_text(f'#include "device.h"\n{renamed}{text}\n{run}', encoding="utf-8")
    unfinished = source.with_suffix(".part")
    command = [
        "c++",
        "-std=c++17",
        "-O1",
        "-march=native",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-w",
        "-fmax-errors=3",
    ]
    command += ["-fpermissive", "-fPIC", "-shared", "-I", HERE, translated, "-o", unfinished]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"{translated} does not compile")
    unfinished.rename(result)


if __name__ == "__main__":
    main()
