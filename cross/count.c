/* Counts instructions by address: a plugin of qemu's translator.
 *
 * qemu-aarch64 -plugin file=count.so,out=FILE PROGRAM ...
 * FILE has a line for each address that was run: the address less the program's start, and how often.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of qemu's plugin interface, version 1. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_start_code(void);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t at, instructions, runs;
};
static struct block *blocks;
static const char *out;

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    block->at = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->next = __atomic_exchange_n(&blocks, block, __ATOMIC_SEQ_CST);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, 0 /* add */, &block->runs, 1);
}

static void ended(uint64_t id, void *data)
{
    uint64_t start = qemu_plugin_start_code();
    FILE *file = fopen(out, "w");
    if (!file)
        return;
    for (struct block *b = blocks; b; b = b->next)
        if (b->runs)
            fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", b->at - start, b->instructions, b->runs);
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = strdup(argv[i] + 4);
    if (!out)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
