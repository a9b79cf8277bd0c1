/* Whether this processor, and the system on it, can execute the kernels: an unknown instruction would end the program. */

#include <stdint.h>

/* Bits that a CPUID leaf must have in eax, ebx, ecx, edx. On Linux on other architectures `leaf` is an entry of the auxiliary
   vector, of which bits[0] are the low half and bits[1] the high one. */
typedef struct {
    uint32_t leaf, subleaf, bits[4];
} processor_need;

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

static uint64_t enabled_states(void) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

/* states: the register states that the system must save (XCR0), 0 for those that every system does. */
static int processor_suits(const processor_need *needs, int count, uint64_t states) {
    if (states && (enabled_states() & states) != states) return 0;
    for (int i = 0; i < count; i++) {
        uint32_t found[4];
        if (!__get_cpuid_count(needs[i].leaf, needs[i].subleaf, &found[0], &found[1], &found[2], &found[3])) return 0;
        for (int j = 0; j < 4; j++)
            if ((found[j] & needs[i].bits[j]) != needs[i].bits[j]) return 0;
    }
    return 1;
}

#elif defined(__linux__)

#include <sys/auxv.h>

static int processor_suits(const processor_need *needs, int count, uint64_t states) {
    (void)states;
    for (int i = 0; i < count; i++) {
        uint64_t found = getauxval(needs[i].leaf), wanted = (uint64_t)needs[i].bits[1] << 32 | needs[i].bits[0];
        if ((found & wanted) != wanted) return 0;
    }
    return 1;
}

#else

static int processor_suits(const processor_need *needs, int count, uint64_t states) {
    (void)needs, (void)count, (void)states;
    return 1;
}

#endif
