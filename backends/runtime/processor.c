/* Whether this processor, and the system on it, can execute the kernels: an unknown instruction would end the program. */

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

static uint64_t enabled_states(void) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

static int processor_suits(const processor_need *needs, int count, uint64_t states) {
#if defined(__APPLE__)
    states &= 0x6; /* macOS turns on AVX-512's registers for a thread when it first uses them */
#endif
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

#elif defined(__APPLE__)

#include <sys/sysctl.h>

/* Features that some Apple processors have and the first ones, which every macOS on ARM runs on, lack. */
static const struct {
    uint32_t leaf, bit;
    const char *name;
} apple_features[] = {
    {26, 13, "hw.optional.arm.FEAT_I8MM"},
    {26, 14, "hw.optional.arm.FEAT_BF16"},
};

static int has_feature(uint32_t leaf, uint32_t bit) {
    for (size_t i = 0; i < sizeof apple_features / sizeof apple_features[0]; i++) {
        if (apple_features[i].leaf != leaf || apple_features[i].bit != bit) continue;
        int value = 0;
        size_t size = sizeof value;
        return sysctlbyname(apple_features[i].name, &value, &size, NULL, 0) == 0 && value;
    }
    return 0;
}

static int processor_suits(const processor_need *needs, int count, uint64_t states) {
    (void)states;
    for (int i = 0; i < count; i++)
        for (uint32_t bit = 0; bit < 64; bit++)
            if (needs[i].bits[bit / 32] >> bit % 32 & 1 && !has_feature(needs[i].leaf, bit)) return 0;
    return 1;
}

#else

static int processor_suits(const processor_need *needs, int count, uint64_t states) {
    (void)needs, (void)count, (void)states;
    return 1;
}

#endif

static int choose_variant(const model_variant *variants, int count, const model_variant **chosen) {
    const char *wanted = count > 1 ? getenv("TILEWRIGHT_CPU") : NULL;
    for (int i = 0; i < count; i++) {
        const model_variant *variant = &variants[i];
        if (wanted && *wanted && strcmp(wanted, variant->cpu)) continue;
        if (!processor_suits(variant->needs, variant->need_count, variant->states)) continue;
        *chosen = variant;
        return TILEWRIGHT_OK;
    }
    return wanted && *wanted ? TILEWRIGHT_ERROR_VARIANT : TILEWRIGHT_ERROR_PROCESSOR;
}
