/* libnvidia-ml.so.1 as a test double: answers NVML's calls from the text file that FAKENVML_STATE names.
 *
 * The file is looked at on every call and read again when it changed; replace it by write + rename. One
 * "key value" a line, '#' begins a comment line. library.py beside this file writes it. For the host:
 *
 *   driver 550.54.14     cuda 12040
 *   init 9               what nvmlInit answers (0 when absent; without a file: 9, driver not loaded)
 *   hang 1               nvmlInit does not return until a later state says otherwise
 *   hang.events 1        nor does the wait for events
 *   slow.init 300        ms that nvmlInit takes, and
 *   slow.slot 300        ms that finding a GPU takes for the first time, as where persistence mode is off
 *   session 2            the driver's load: a session opened under another number is stale
 *   stale 999            what a stale session answers to every call, for good
 *
 * Each line "gpu" begins the next GPU, in NVML's order:
 *
 *   uuid, name, pci, serial                      text
 *   utilization 10 50 90                         per cent; one a call of each process, the last one stays
 *   <any other key of NUMBERS below> <integer>   NVML's own units; a key that is absent: NOT_SUPPORTED (3)
 *   error <function|*> <code>                    that function (without _v2, _v3), or every one, fails so
 *   hang <function|*>                            it does not return until a later state says otherwise
 *   crash <function|*>                           it takes the process down (SIGSEGV)
 *   process <pid> compute|graphics <bytes> <MIG instance|-1>
 *   mig <uuid> <GPU instance> <compute instance> <MiB> <slices>
 *   xid <number> <code>                          an event; numbers grow, what was shown before a session is past
 *
 * -DOLD_DRIVER leaves out the symbols that drivers before R510 lack.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef int Return;
typedef unsigned int Uint;
typedef unsigned long long Ullong;

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 6, INSUFFICIENT_SIZE,
       DRIVER_NOT_LOADED = 9, TIMEOUT = 10, VERSION_MISMATCH = 25, UNKNOWN = 999 };

#define NUMBERS(X) \
    X(memory_total, "memory.total") X(memory_reserved, "memory.reserved") X(memory_used, "memory.used") \
    X(memory_utilization, "memory.utilization") X(temperature, "temperature") X(power, "power") \
    X(power_limit, "power.limit") X(fan, "fan") X(clock_graphics, "clock.graphics") X(clock_sm, "clock.sm") \
    X(clock_memory, "clock.memory") X(clock_video, "clock.video") X(persistence, "persistence") \
    X(performance, "performance") X(compute_major, "compute.major") X(compute_minor, "compute.minor") \
    X(clock_sm_max, "clock.sm.max") X(throttle, "throttle") \
    X(ecc_volatile_corrected, "ecc.volatile.corrected") X(ecc_volatile_uncorrected, "ecc.volatile.uncorrected") \
    X(ecc_aggregate_corrected, "ecc.aggregate.corrected") \
    X(ecc_aggregate_uncorrected, "ecc.aggregate.uncorrected") \
    X(rows_corrected, "rows.corrected") X(rows_uncorrected, "rows.uncorrected") \
    X(rows_pending, "rows.pending") X(rows_failed, "rows.failed") \
    X(pcie_generation, "pcie.generation") X(pcie_generation_max, "pcie.generation.max") \
    X(pcie_width, "pcie.width") X(pcie_width_max, "pcie.width.max") X(pcie_replays, "pcie.replays") \
    X(nvlink_links, "nvlink.links") X(nvlink_active, "nvlink.active") X(nvlink_replay, "nvlink.replay") \
    X(nvlink_recovery, "nvlink.recovery") X(nvlink_crc_flit, "nvlink.crc.flit") \
    X(nvlink_crc_data, "nvlink.crc.data") X(recovery_action, "recovery.action") X(mig_mode, "mig.mode")

enum { MAX_GPUS = 64, MAX_RULES = 16, MAX_SERIES = 64, MAX_PROCESSES = 64, MAX_MIG = 7, MAX_XIDS = 16, TEXT = 96 };

struct number { int present; Ullong value; };
enum effect { ERROR, HANG, CRASH };
struct rule { char function[TEXT]; int code; enum effect effect; };
struct process { Uint pid; int graphics; Ullong used; int instance; };
struct mig { char uuid[TEXT]; Uint gpu_instance, compute_instance, memory_mb, slices; };
struct xid { int number; Uint code; };
struct gpu {
    char uuid[TEXT], name[TEXT], pci[TEXT], serial[TEXT];
    Uint utilization[MAX_SERIES];
    int utilization_count, rule_count, process_count, mig_count, xid_count;
    struct rule rules[MAX_RULES];
    struct process processes[MAX_PROCESSES];
    struct mig migs[MAX_MIG];
    struct xid xids[MAX_XIDS];
#define X(member, key) struct number member;
    NUMBERS(X)
#undef X
};
struct host {
    char driver[TEXT];
    int cuda, init, hang, hang_events, slow_init, slow_slot, session, stale, gpu_count;
    struct gpu gpus[MAX_GPUS];
};

static struct host *current; /* earlier ones are never freed: another thread may be reading them */
static struct stat seen;
static int opened, opened_session;
static int utilization_calls[MAX_GPUS];
static int awake[MAX_GPUS]; /* whether this process found it before */

static void set_text(char *out, const char *value) { snprintf(out, TEXT, "%s", value); }

static void set_number(struct gpu *gpu, const char *key, const char *value)
{
#define X(member, text) if (!strcmp(key, text)) { gpu->member = (struct number){1, strtoull(value, NULL, 10)}; return; }
    NUMBERS(X)
#undef X
    fprintf(stderr, "fakenvml: unknown key %s\n", key);
    abort();
}

static void set_rule(struct gpu *gpu, const char *value, enum effect effect)
{
    if (gpu->rule_count == MAX_RULES) abort();
    struct rule *rule = &gpu->rules[gpu->rule_count++];
    rule->effect = effect;
    sscanf(value, "%95s %d", rule->function, &rule->code);
}

static void set_series(struct gpu *gpu, const char *value)
{
    char *end;
    for (gpu->utilization_count = 0; gpu->utilization_count < MAX_SERIES; value = end) {
        Uint next = strtoul(value, &end, 10);
        if (end == value) return;
        gpu->utilization[gpu->utilization_count++] = next;
    }
}

static void set_process(struct gpu *gpu, const char *value)
{
    char kind[16];
    if (gpu->process_count == MAX_PROCESSES) abort();
    struct process *process = &gpu->processes[gpu->process_count++];
    if (sscanf(value, "%u %15s %llu %d", &process->pid, kind, &process->used, &process->instance) != 4) abort();
    process->graphics = !strcmp(kind, "graphics");
}

static void set_mig(struct gpu *gpu, const char *value)
{
    if (gpu->mig_count == MAX_MIG) abort();
    struct mig *mig = &gpu->migs[gpu->mig_count++];
    if (sscanf(value, "%95s %u %u %u %u", mig->uuid, &mig->gpu_instance, &mig->compute_instance, &mig->memory_mb,
               &mig->slices) != 5) abort();
}

static void set_xid(struct gpu *gpu, const char *value)
{
    if (gpu->xid_count == MAX_XIDS) abort();
    struct xid *xid = &gpu->xids[gpu->xid_count++];
    if (sscanf(value, "%d %u", &xid->number, &xid->code) != 2) abort();
}

static void set_gpu(struct gpu *gpu, const char *key, const char *value)
{
    if (!strcmp(key, "uuid")) set_text(gpu->uuid, value);
    else if (!strcmp(key, "name")) set_text(gpu->name, value);
    else if (!strcmp(key, "pci")) set_text(gpu->pci, value);
    else if (!strcmp(key, "serial")) set_text(gpu->serial, value);
    else if (!strcmp(key, "utilization")) set_series(gpu, value);
    else if (!strcmp(key, "error")) set_rule(gpu, value, ERROR);
    else if (!strcmp(key, "hang")) set_rule(gpu, value, HANG);
    else if (!strcmp(key, "crash")) set_rule(gpu, value, CRASH);
    else if (!strcmp(key, "process")) set_process(gpu, value);
    else if (!strcmp(key, "mig")) set_mig(gpu, value);
    else if (!strcmp(key, "xid")) set_xid(gpu, value);
    else set_number(gpu, key, value);
}

static void set_host(struct host *host, const char *key, const char *value)
{
    if (!strcmp(key, "driver")) set_text(host->driver, value);
    else if (!strcmp(key, "cuda")) host->cuda = atoi(value);
    else if (!strcmp(key, "init")) host->init = atoi(value);
    else if (!strcmp(key, "hang")) host->hang = atoi(value);
    else if (!strcmp(key, "hang.events")) host->hang_events = atoi(value);
    else if (!strcmp(key, "slow.init")) host->slow_init = atoi(value);
    else if (!strcmp(key, "slow.slot")) host->slow_slot = atoi(value);
    else if (!strcmp(key, "session")) host->session = atoi(value);
    else if (!strcmp(key, "stale")) host->stale = atoi(value);
}

static struct host *parse(FILE *file)
{
    struct host *host = calloc(1, sizeof *host);
    char line[1024], key[TEXT];
    int at;
    host->stale = UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || sscanf(line, "%95s %n", key, &at) != 1) continue;
        if (!strcmp(key, "gpu")) {
            if (host->gpu_count++ == MAX_GPUS) abort();
        } else if (host->gpu_count) set_gpu(&host->gpus[host->gpu_count - 1], key, line + at);
        else set_host(host, key, line + at);
    }
    return host;
}

static struct host *state(void)
{
    struct stat now;
    const char *path = getenv("FAKENVML_STATE");
    if (!path || stat(path, &now)) return NULL;
    if (current && now.st_ino == seen.st_ino && now.st_size == seen.st_size
        && !memcmp(&now.st_mtim, &seen.st_mtim, sizeof now.st_mtim)) return current;
    FILE *file = fopen(path, "r");
    if (!file) return NULL;
    fstat(fileno(file), &now); /* of the very file that is read: the name may point to the next one by now */
    current = parse(file);
    seen = now;
    fclose(file);
    return current;
}

static Return session(struct host *host)
{
    if (!opened) return UNINITIALIZED;
    if (!host) return UNKNOWN;
    return host->session == opened_session ? SUCCESS : host->stale;
}

static struct rule *rule_for(struct gpu *gpu, const char *function, enum effect effect)
{
    for (int i = 0; i < gpu->rule_count; i++) {
        struct rule *rule = &gpu->rules[i];
        if (rule->effect == effect && (!strcmp(rule->function, "*") || !strcmp(rule->function, function))) return rule;
    }
    return NULL;
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }
static void linger(void) { wait_ms(2); }

/* A handle is its GPU's index + 1, and of its MIG device n, n * 1000 more. */
static int mig_of(void *handle) { return (int)((size_t)handle / 1000) - 1; }

/* What every call on a GPU begins with: *found is its state as of now. */
static Return enter(void *handle, const char *function, struct gpu **found)
{
    size_t index = (size_t)handle % 1000 - 1;
    for (;;) {
        struct host *host = state();
        Return status = session(host);
        if (status) return status;
        if (index >= (size_t)host->gpu_count) return INVALID_ARGUMENT;
        *found = &host->gpus[index];
        if (!rule_for(*found, function, HANG)) break;
        linger();
    }
    if (rule_for(*found, function, CRASH)) raise(SIGSEGV);
    struct rule *rule = rule_for(*found, function, ERROR);
    return rule ? rule->code : SUCCESS;
}

#define ENTER(handle, function) \
    struct gpu *gpu; \
    Return status_ = enter(handle, function, &gpu); \
    if (status_) return status_

static Return text(const char *value, char *out, Uint length)
{
    if (!value[0]) return NOT_SUPPORTED;
    return snprintf(out, length, "%s", value) < (int)length ? SUCCESS : INSUFFICIENT_SIZE;
}

static Return number(struct number from, Uint *out)
{
    *out = (Uint)from.value;
    return from.present ? SUCCESS : NOT_SUPPORTED;
}

/* ---- the library and the host ---- */

Return nvmlInitWithFlags(Uint flags)
{
    struct host *host = state();
    (void)flags;
    for (; host && host->hang; host = state()) linger();
    if (!host) return DRIVER_NOT_LOADED;
    wait_ms(host->slow_init);
    if (host->init) return host->init;
    /* as in the real library, a session that is still open stays the one that it was */
    if (!opened++) opened_session = host->session;
    return SUCCESS;
}
Return nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
Return nvmlShutdown(void) { return opened ? (opened--, SUCCESS) : UNINITIALIZED; }

const char *nvmlErrorString(Return code)
{
    static char words[32];
    snprintf(words, sizeof words, "error %d", code);
    return words;
}

#define HOST_TEXT(function, member) \
    Return function(char *out, Uint length) \
    { \
        struct host *host = state(); \
        Return status = session(host); \
        return status ? status : text(host->member, out, length); \
    }
HOST_TEXT(nvmlSystemGetDriverVersion, driver)

#define HOST_NUMBER(function, type, member) \
    Return function(type *out) \
    { \
        struct host *host = state(); \
        Return status = session(host); \
        if (!status) *out = host->member; \
        return status; \
    }
HOST_NUMBER(nvmlSystemGetCudaDriverVersion, int, cuda)
HOST_NUMBER(nvmlDeviceGetCount_v2, Uint, gpu_count)

/* ---- finding a GPU ---- */

Return nvmlDeviceGetHandleByIndex_v2(Uint index, void **out)
{
    void *handle = (void *)(size_t)(index + 1);
    ENTER(handle, "nvmlDeviceGetHandleByIndex");
    if (!awake[index]++) wait_ms(current->slow_slot);
    *out = handle;
    return SUCCESS;
}

Return nvmlDeviceGetHandleByUUID(const char *uuid, void **out)
{
    struct host *host = state();
    Return status = session(host);
    for (int i = 0; !status && i < host->gpu_count; i++) {
        if (!strcmp(host->gpus[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, out);
    }
    return status ? status : NOT_FOUND;
}
Return nvmlDeviceGetIndex(void *handle, Uint *out)
{
    ENTER(handle, "nvmlDeviceGetIndex");
    *out = (Uint)((size_t)handle - 1);
    return SUCCESS;
}

#define GPU_TEXT(function, member) \
    Return function(void *handle, char *out, Uint length) \
    { ENTER(handle, #function); return text(gpu->member, out, length); }
Return nvmlDeviceGetUUID(void *handle, char *out, Uint length)
{
    ENTER(handle, "nvmlDeviceGetUUID");
    int mig = mig_of(handle);
    return text(mig < 0 ? gpu->uuid : gpu->migs[mig].uuid, out, length);
}
GPU_TEXT(nvmlDeviceGetName, name)
GPU_TEXT(nvmlDeviceGetSerial, serial)

struct pci { char legacy[16]; Uint domain, bus, device, id, subsystem; char bus_id[32]; };
Return nvmlDeviceGetPciInfo_v3(void *handle, struct pci *out)
{
    ENTER(handle, "nvmlDeviceGetPciInfo");
    memset(out, 0, sizeof *out);
    if (sscanf(gpu->pci, "%x:%x:%x", &out->domain, &out->bus, &out->device) != 3) return NOT_SUPPORTED;
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain & 0xFFFF, out->bus, out->device);
    snprintf(out->bus_id, sizeof out->bus_id, "%.31s", gpu->pci);
    return SUCCESS;
}

/* ---- figures ---- */

struct utilization { Uint gpu, memory; };
Return nvmlDeviceGetUtilizationRates(void *handle, struct utilization *out)
{
    ENTER(handle, "nvmlDeviceGetUtilizationRates");
    if (!gpu->utilization_count) return NOT_SUPPORTED;
    int *call = &utilization_calls[(size_t)handle - 1];
    int at = *call < gpu->utilization_count ? (*call)++ : gpu->utilization_count - 1;
    *out = (struct utilization){gpu->utilization[at], (Uint)gpu->memory_utilization.value};
    return SUCCESS;
}

struct memory { Ullong total, free, used; };
Return nvmlDeviceGetMemoryInfo(void *handle, struct memory *out)
{
    ENTER(handle, "nvmlDeviceGetMemoryInfo");
    if (!gpu->memory_total.present) return NOT_SUPPORTED;
    /* version 1 knows no reserved memory: it counts as used */
    Ullong total = gpu->memory_total.value, used = gpu->memory_used.value + gpu->memory_reserved.value;
    *out = (struct memory){total, total - used, used};
    return SUCCESS;
}

struct temperature { Uint version, sensor; int value; };
#ifndef OLD_DRIVER
struct memory_v2 { Uint version; Ullong total, reserved, free, used; };
Return nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *out)
{
    if (out->version != (sizeof *out | 2 << 24)) return VERSION_MISMATCH;
    ENTER(handle, "nvmlDeviceGetMemoryInfo");
    if (!gpu->memory_total.present) return NOT_SUPPORTED;
    Ullong total = gpu->memory_total.value, reserved = gpu->memory_reserved.value, used = gpu->memory_used.value;
    *out = (struct memory_v2){out->version, total, reserved, total - reserved - used, used};
    return SUCCESS;
}
Return nvmlDeviceGetTemperatureV(void *handle, struct temperature *out)
{
    if (out->version != (sizeof *out | 1 << 24)) return VERSION_MISMATCH;
    ENTER(handle, "nvmlDeviceGetTemperature");
    out->value = (int)gpu->temperature.value;
    return gpu->temperature.present ? SUCCESS : NOT_SUPPORTED;
}
#endif
Return nvmlDeviceGetTemperature(void *handle, Uint sensor, Uint *out)
{
    ENTER(handle, "nvmlDeviceGetTemperature");
    return sensor ? INVALID_ARGUMENT : number(gpu->temperature, out);
}

#define GPU_NUMBER(function, member) \
    Return function(void *handle, Uint *out) { ENTER(handle, #function); return number(gpu->member, out); }
GPU_NUMBER(nvmlDeviceGetPowerUsage, power)
GPU_NUMBER(nvmlDeviceGetEnforcedPowerLimit, power_limit)
GPU_NUMBER(nvmlDeviceGetPowerManagementLimit, power_limit)
GPU_NUMBER(nvmlDeviceGetFanSpeed, fan)
GPU_NUMBER(nvmlDeviceGetPersistenceMode, persistence)
GPU_NUMBER(nvmlDeviceGetPerformanceState, performance)

#define GPU_ZERO(function) \
    Return function(void *handle, Uint *out) { ENTER(handle, #function); (void)gpu; *out = 0; return SUCCESS; }
GPU_ZERO(nvmlDeviceGetComputeMode)
GPU_ZERO(nvmlDeviceGetDisplayActive)
GPU_ZERO(nvmlDeviceGetDisplayMode)
Return nvmlDeviceIsMigDeviceHandle(void *handle, Uint *out) { *out = mig_of(handle) >= 0; return SUCCESS; }

static Return clock_of(struct gpu *gpu, Uint kind, Uint *out)
{
    struct number clocks[] = {gpu->clock_graphics, gpu->clock_sm, gpu->clock_memory, gpu->clock_video};
    return kind < 4 ? number(clocks[kind], out) : INVALID_ARGUMENT;
}
#define GPU_CLOCK(function) \
    Return function(void *handle, Uint kind, Uint *out) { ENTER(handle, #function); return clock_of(gpu, kind, out); }
GPU_CLOCK(nvmlDeviceGetClockInfo)
Return nvmlDeviceGetMaxClockInfo(void *handle, Uint kind, Uint *out)
{
    ENTER(handle, "nvmlDeviceGetMaxClockInfo");
    return kind == 1 ? number(gpu->clock_sm_max, out) : clock_of(gpu, kind, out);
}

Return nvmlDeviceGetCudaComputeCapability(void *handle, Uint *major, Uint *minor)
{
    ENTER(handle, "nvmlDeviceGetCudaComputeCapability");
    Return status = number(gpu->compute_major, major);
    return status ? status : number(gpu->compute_minor, minor);
}

#define GPU_UNSUPPORTED(function) \
    Return function(void *handle) { ENTER(handle, #function); (void)gpu; return NOT_SUPPORTED; }
GPU_UNSUPPORTED(nvmlDeviceGetBAR1MemoryInfo)
GPU_UNSUPPORTED(nvmlDeviceGetDriverModel)
GPU_UNSUPPORTED(nvmlDeviceGetDriverModel_v2)
GPU_UNSUPPORTED(nvmlDeviceGetDecoderUtilization)
GPU_UNSUPPORTED(nvmlDeviceGetEncoderUtilization)
GPU_UNSUPPORTED(nvmlDeviceGetPcieThroughput)
GPU_UNSUPPORTED(nvmlDeviceGetProcessUtilization)

/* ---- health ---- */

GPU_NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, pcie_generation)
GPU_NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, pcie_generation_max)
GPU_NUMBER(nvmlDeviceGetCurrPcieLinkWidth, pcie_width)
GPU_NUMBER(nvmlDeviceGetMaxPcieLinkWidth, pcie_width_max)
GPU_NUMBER(nvmlDeviceGetPcieReplayCounter, pcie_replays)

static Return wide(struct number from, Ullong *out) { *out = from.value; return from.present ? SUCCESS : NOT_SUPPORTED; }

Return nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, Ullong *out)
{
    ENTER(handle, "nvmlDeviceGetCurrentClocksEventReasons");
    return wide(gpu->throttle, out);
}
#ifndef OLD_DRIVER
Return nvmlDeviceGetCurrentClocksEventReasons(void *handle, Ullong *out)
{
    return nvmlDeviceGetCurrentClocksThrottleReasons(handle, out);
}
#endif

Return nvmlDeviceGetTotalEccErrors(void *handle, Uint uncorrected, Uint aggregate, Ullong *out)
{
    ENTER(handle, "nvmlDeviceGetTotalEccErrors");
    struct number counters[2][2] = {{gpu->ecc_volatile_corrected, gpu->ecc_volatile_uncorrected},
                                    {gpu->ecc_aggregate_corrected, gpu->ecc_aggregate_uncorrected}};
    return aggregate > 1 || uncorrected > 1 ? INVALID_ARGUMENT : wide(counters[aggregate][uncorrected], out);
}

Return nvmlDeviceGetRemappedRows(void *handle, Uint *corrected, Uint *uncorrected, Uint *pending, Uint *failed)
{
    ENTER(handle, "nvmlDeviceGetRemappedRows");
    number(gpu->rows_corrected, corrected);
    number(gpu->rows_uncorrected, uncorrected);
    number(gpu->rows_pending, pending);
    return number(gpu->rows_failed, failed);
}

Return nvmlDeviceGetNvLinkState(void *handle, Uint link, Uint *out)
{
    ENTER(handle, "nvmlDeviceGetNvLinkState");
    if (!gpu->nvlink_links.present) return NOT_SUPPORTED;
    if (link >= gpu->nvlink_links.value) return INVALID_ARGUMENT;
    *out = link < gpu->nvlink_active.value;
    return SUCCESS;
}

struct field { Uint id, scope; long long timestamp, latency; Uint type, result; union { Ullong wide; Uint narrow; } value; };
Return nvmlDeviceGetFieldValues(void *handle, int count, struct field *fields)
{
    ENTER(handle, "nvmlDeviceGetFieldValues");
    for (int i = 0; i < count; i++) {
        struct field *field = &fields[i];
        struct number from = field->id == 38 ? gpu->nvlink_crc_flit : field->id == 45 ? gpu->nvlink_crc_data
            : field->id == 52 ? gpu->nvlink_replay : field->id == 59 ? gpu->nvlink_recovery
            : field->id == 230 ? gpu->recovery_action : (struct number){0, 0};
        field->type = field->id == 230 ? 1 : 3; /* unsigned int; unsigned long long */
        field->value.wide = from.value;
        field->result = from.present ? SUCCESS : NOT_SUPPORTED;
#ifdef OLD_DRIVER
        if (field->id == 230) field->result = INVALID_ARGUMENT;
#endif
    }
    return SUCCESS;
}

/* ---- MIG ---- */

Return nvmlDeviceGetMigMode(void *handle, Uint *now, Uint *next)
{
    ENTER(handle, "nvmlDeviceGetMigMode");
    number(gpu->mig_mode, next);
    return number(gpu->mig_mode, now);
}

Return nvmlDeviceGetMaxMigDeviceCount(void *handle, Uint *out)
{
    ENTER(handle, "nvmlDeviceGetMaxMigDeviceCount");
    *out = gpu->mig_mode.present ? MAX_MIG : 0;
    return SUCCESS;
}

Return nvmlDeviceGetMigDeviceHandleByIndex(void *handle, Uint index, void **out)
{
    ENTER(handle, "nvmlDeviceGetMigDeviceHandleByIndex");
    if (index >= (Uint)gpu->mig_count) return NOT_FOUND;
    *out = (void *)((size_t)handle + 1000 * (index + 1));
    return SUCCESS;
}

Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **out)
{
    *out = (void *)((size_t)handle % 1000);
    return mig_of(handle) < 0 ? INVALID_ARGUMENT : SUCCESS;
}

#define MIG_NUMBER(function, member) \
    Return function(void *handle, Uint *out) \
    { \
        ENTER(handle, #function); \
        int mig = mig_of(handle); \
        if (mig < 0 || mig >= gpu->mig_count) return INVALID_ARGUMENT; \
        *out = gpu->migs[mig].member; \
        return SUCCESS; \
    }
MIG_NUMBER(nvmlDeviceGetGpuInstanceId, gpu_instance)
MIG_NUMBER(nvmlDeviceGetComputeInstanceId, compute_instance)

struct attributes { Uint multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices; Ullong memory_mb; };
Return nvmlDeviceGetAttributes_v2(void *handle, struct attributes *out)
{
    ENTER(handle, "nvmlDeviceGetAttributes");
    int mig = mig_of(handle);
    if (mig < 0 || mig >= gpu->mig_count) return INVALID_ARGUMENT;
    memset(out, 0, sizeof *out);
    out->gpu_slices = gpu->migs[mig].slices;
    out->memory_mb = gpu->migs[mig].memory_mb;
    return SUCCESS;
}

/* ---- processes ---- */

struct process_info { Uint pid; Ullong used; Uint gpu_instance, compute_instance; };
static Return processes_of(struct gpu *gpu, int graphics, Uint *count, struct process_info *out)
{
    Uint room = *count, found = 0;
    for (int i = 0; i < gpu->process_count; i++) {
        struct process *from = &gpu->processes[i];
        if (from->graphics != graphics) continue;
        if (out && found < room) out[found] = (struct process_info){from->pid, from->used, from->instance, -1};
        found++;
    }
    *count = found;
    return found <= room ? SUCCESS : INSUFFICIENT_SIZE;
}

#define GPU_PROCESSES(function, suffix, graphics) \
    Return function##suffix(void *handle, Uint *count, struct process_info *out) \
    { ENTER(handle, #function); return processes_of(gpu, graphics, count, out); }
GPU_PROCESSES(nvmlDeviceGetComputeRunningProcesses, _v2, 0)
GPU_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, _v2, 1)
#ifndef OLD_DRIVER
GPU_PROCESSES(nvmlDeviceGetComputeRunningProcesses, _v3, 0)
GPU_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, _v3, 1)
#endif

/* ---- events: one set a process ---- */

enum { XID_EVENT = 8 };
static int heard[MAX_GPUS], listening[MAX_GPUS]; /* number of the last Xid told; whether the set is told */

Return nvmlEventSetCreate(void **out)
{
    struct host *host = state();
    Return status = session(host);
    memset(listening, 0, sizeof listening);
    *out = (void *)1;
    return status;
}
Return nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }

Return nvmlDeviceGetSupportedEventTypes(void *handle, Ullong *out)
{
    ENTER(handle, "nvmlDeviceGetSupportedEventTypes");
    (void)gpu;
    *out = XID_EVENT;
    return SUCCESS;
}

Return nvmlDeviceRegisterEvents(void *handle, Ullong types, void *set)
{
    ENTER(handle, "nvmlDeviceRegisterEvents");
    int index = (int)(size_t)handle - 1;
    (void)set;
    listening[index] = (types & XID_EVENT) != 0;
    heard[index] = gpu->xid_count ? gpu->xids[gpu->xid_count - 1].number : 0;
    return SUCCESS;
}

struct event { void *device; Ullong type, data; Uint gpu_instance, compute_instance; };
Return nvmlEventSetWait_v2(void *set, struct event *out, Uint timeout)
{
    struct host *host = state();
    Return status = session(host);
    (void)set; (void)timeout;
    for (; !status && host->hang_events; host = state()) linger();
    for (int i = 0; !status && i < host->gpu_count; i++) {
        struct gpu *gpu = &host->gpus[i];
        for (int x = 0; listening[i] && x < gpu->xid_count; x++) {
            if (gpu->xids[x].number <= heard[i]) continue;
            heard[i] = gpu->xids[x].number;
            *out = (struct event){(void *)(size_t)(i + 1), XID_EVENT, gpu->xids[x].code, -1, -1};
            return SUCCESS;
        }
    }
    return status ? status : TIMEOUT;
}
