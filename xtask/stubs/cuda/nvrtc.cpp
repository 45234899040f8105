// `libnvrtc` for a machine that has no GPU: `translate.py` compiles a kernel for the CPU; the "PTX" is the path of the result.
//
// `CUDA_EMULATED` is the directory of these files, `CUDA_EMULATED_KERNELS` the one that the results are kept in.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <unistd.h>

#define API extern "C" int

struct Program {
    std::string source, result, log;
};

static const int OK = 0, COMPILATION_FAILED = 6;

static std::string directory(const char *name) {
    const char *value = getenv(name);
    if (!value) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

API nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, OK; }
extern "C" const char *nvrtcGetErrorString(int) { return "the kernel was not compiled"; }

API nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char **, const char **) {
    return *program = new Program{source, "", ""}, OK;
}

API nvrtcCompileProgram(Program *program, int, const char **) {
    char name[32];
    snprintf(name, sizeof name, "/%016zx", std::hash<std::string>()(program->source));
    std::string stem = directory("CUDA_EMULATED_KERNELS") + name;
    program->result = stem + ".so";
    if (access(program->result.c_str(), R_OK) == 0)
        return OK;
    std::ofstream(stem + ".cu") << program->source;
    std::string log = stem + ".log";
    std::string command = "python3 '" + directory("CUDA_EMULATED") + "/translate.py' '" + stem + ".cu' > '" + log + "' 2>&1";
    if (system(command.c_str()) == 0)
        return OK;
    std::stringstream text;
    text << std::ifstream(log).rdbuf();
    program->log = text.str();
    fprintf(stderr, "%s.cu cannot be emulated: see %s\n", stem.c_str(), log.c_str());
    return COMPILATION_FAILED;
}

API nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, OK; }
API nvrtcGetProgramLog(Program *program, char *log) { return strcpy(log, program->log.c_str()), OK; }
API nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->result.size() + 1, OK; }
API nvrtcGetPTX(Program *program, char *ptx) { return strcpy(ptx, program->result.c_str()), OK; }
API nvrtcDestroyProgram(Program **program) { return delete *program, *program = nullptr, OK; }
