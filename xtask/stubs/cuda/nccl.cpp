// `libnccl` for a machine that has no GPU: ranks are processes of this machine, and what they send each other are files.
//
// Memory of the emulated device is memory of the host, and what is queued is done at once. A message is a file of a directory that
// the unique id names, `FROM-TO-NUMBER`, which appears whole and is removed by who takes it. As NCCL, it does what a group holds
// together: all sends, then all receives.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#define API extern "C" int

static const int OK = 0, SYSTEM_ERROR = 2, INVALID_ARGUMENT = 4, FLOAT32 = 7;

struct Id {
    char text[128];
};

struct Communicator {
    std::string directory;
    int rank, ranks;
    std::map<int, long> sent, taken;
};

struct Message {
    Communicator *communicator;
    int peer;
    const char *from;
    char *to;
    size_t bytes;
    bool is_added;
};

static std::vector<Message> group;
static int depth;

static std::string path(Communicator &c, int from, int to, long number) {
    return c.directory + "/" + std::to_string(from) + "-" + std::to_string(to) + "-" + std::to_string(number);
}

static int send(Message &m) {
    Communicator &c = *m.communicator;
    std::string name = path(c, c.rank, m.peer, c.sent[m.peer]++), unfinished = name + ".part";
    FILE *file = fopen(unfinished.c_str(), "wb");
    if (!file)
        return SYSTEM_ERROR;
    bool is_written = fwrite(m.from, 1, m.bytes, file) == m.bytes;
    is_written &= fclose(file) == 0;
    return is_written && rename(unfinished.c_str(), name.c_str()) == 0 ? OK : SYSTEM_ERROR;
}

static int take(Message &m) {
    Communicator &c = *m.communicator;
    std::string name = path(c, m.peer, c.rank, c.taken[m.peer]++);
    FILE *file;
    while (!(file = fopen(name.c_str(), "rb")))
        usleep(50);
    std::vector<char> bytes(m.bytes + 1);
    size_t size = fread(bytes.data(), 1, bytes.size(), file);
    fclose(file);
    unlink(name.c_str());
    if (size != m.bytes)
        return INVALID_ARGUMENT;
    if (!m.is_added)
        return memcpy(m.to, bytes.data(), size), OK;
    for (size_t i = 0; i < size / sizeof(float); i++)
        ((float *)m.to)[i] += ((float *)bytes.data())[i];
    return OK;
}

API ncclGetVersion(int *version) { return *version = 23000, OK; }

API ncclGetUniqueId(Id *id) {
    snprintf(id->text, sizeof id->text, "%s/cadft-nccl-XXXXXX", P_tmpdir);
    return mkdtemp(id->text) ? OK : SYSTEM_ERROR;
}

API ncclCommInitRank(Communicator **made, int ranks, Id id, int rank) {
    return *made = new Communicator{id.text, rank, ranks, {}, {}}, OK;
}
API ncclCommAbort(Communicator *c) {
    rmdir(c->directory.c_str()); // The last one removes it.
    return delete c, OK;
}

API ncclGroupStart() { return depth++, OK; }
API ncclGroupEnd() {
    if (--depth)
        return OK;
    std::vector<Message> now;
    now.swap(group);
    int error = OK;
    for (Message &m : now)
        if (m.from && !error)
            error = send(m);
    for (Message &m : now)
        if (m.to && !error)
            error = take(m);
    return error;
}

static int queued(const Message &message, int type) {
    if (type != FLOAT32)
        return INVALID_ARGUMENT;
    ncclGroupStart();
    group.push_back(message);
    return ncclGroupEnd();
}

API ncclSend(const char *from, size_t count, int type, int peer, Communicator *c, void *) {
    return queued({c, peer, from, nullptr, count * sizeof(float), false}, type);
}
API ncclRecv(char *to, size_t count, int type, int peer, Communicator *c, void *) {
    return queued({c, peer, nullptr, to, count * sizeof(float), false}, type);
}

API ncclBroadcast(const char *from, char *to, size_t count, int type, int root, Communicator *c, void *) {
    ncclGroupStart();
    int error = OK;
    for (int peer = 0; c->rank == root && peer < c->ranks && !error; peer++)
        error = ncclSend(from, count, type, peer, c, nullptr);
    if (!error)
        error = ncclRecv(to, count, type, root, c, nullptr);
    int ended = ncclGroupEnd();
    return error ? error : ended;
}

API ncclAllReduce(const char *from, char *to, size_t count, int type, int operation, Communicator *c, void *) {
    if (operation)
        return INVALID_ARGUMENT;
    memset(to, 0, count * sizeof(float));
    ncclGroupStart();
    int error = OK;
    for (int peer = 0; peer < c->ranks && !error; peer++)
        error = ncclSend(from, count, type, peer, c, nullptr);
    for (int peer = 0; peer < c->ranks && !error; peer++)
        error = queued({c, peer, nullptr, to, count * sizeof(float), true}, type);
    int ended = ncclGroupEnd();
    return error ? error : ended;
}
