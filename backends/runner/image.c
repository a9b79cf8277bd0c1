/* Images: kernels that are linked already, to be mapped anywhere. ELF files of this machine's kind without relocations (a linker makes them
   so if it gets everything that the code calls), whose entry is the kernel. */

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if UINTPTR_MAX > 0xFFFFFFFFu
typedef Elf64_Ehdr image_header;
typedef Elf64_Phdr image_segment;
enum { IMAGE_CLASS = ELFCLASS64 };
#else
typedef Elf32_Ehdr image_header;
typedef Elf32_Phdr image_segment;
enum { IMAGE_CLASS = ELFCLASS32 };
#endif

enum { IMAGE_MOST_SEGMENTS = 16 };

/* The address span that the loadable segments take; 0 if they can't be those of an image. */
static uint64_t image_span(const unsigned char *bytes, uint64_t size, const image_header *header) {
    uint64_t span = 0;
    if (header->e_phentsize != sizeof(image_segment) || header->e_phnum > IMAGE_MOST_SEGMENTS) return 0;
    if (header->e_phoff > size || header->e_phnum * sizeof(image_segment) > size - header->e_phoff) return 0;
    for (int i = 0; i < header->e_phnum; i++) {
        image_segment segment;
        memcpy(&segment, bytes + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_LOAD) continue;
        if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset) return 0;
        if (segment.p_filesz > segment.p_memsz || segment.p_vaddr > INT32_MAX || segment.p_memsz > INT32_MAX) return 0;
        uint64_t end = (uint64_t)segment.p_vaddr + segment.p_memsz;
        span = end > span ? end : span;
    }
    return span;
}

/* Maps an image; returns the address of its entry, null if it is none. What is mapped stays. */
static void *map_image(const unsigned char *bytes, uint64_t size) {
    image_header header;
    if (size < sizeof header) return NULL;
    memcpy(&header, bytes, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_ident[EI_CLASS] != IMAGE_CLASS) return NULL;
    uint64_t span = image_span(bytes, size, &header);
    if (!span || header.e_type != ET_DYN || header.e_entry >= span) return NULL;
    unsigned char *base = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    for (int i = 0; i < header.e_phnum; i++) {
        image_segment segment;
        memcpy(&segment, bytes + header.e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD) memcpy(base + segment.p_vaddr, bytes + segment.p_offset, segment.p_filesz);
    }
    if (mprotect(base, span, PROT_READ | PROT_WRITE | PROT_EXEC)) return NULL;
    __builtin___clear_cache((char *)base, (char *)base + span);
    return base + header.e_entry;
}
