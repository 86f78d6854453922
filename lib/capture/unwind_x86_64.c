/* Unwind rules of x86-64 code from .eh_frame, found through .eh_frame_hdr.
 *
 * Runs inside malloc: no allocation, no lock where libc has _dl_find_object (2.35). The tables are
 * read where the loader mapped them; they are code's own metadata and trusted as the C++ runtime
 * trusts them, but every read stays inside the entry that its length field names. It does not know
 * registers other than rsp and rbp: rules that need them are UNWIND_STOP. */
#include "capture/unwind.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#include "capture/next.h"
#include "capture/rawmem.h"

enum {
    N_RARE = 4096,
    REG_RBP = 6,
    REG_RSP = 7,
    REG_RA = 16,
    PE_ABSPTR = 0x00,
    PE_UDATA2 = 0x02,
    PE_UDATA4 = 0x03,
    PE_UDATA8 = 0x04,
    PE_SDATA2 = 0x0a,
    PE_SDATA4 = 0x0b,
    PE_SDATA8 = 0x0c,
    PE_PCREL = 0x10,
    PE_DATAREL = 0x30,
    PE_OMIT = 0xff,
    STATE_DEPTH = 16
};

_Atomic uint64_t unwind_cache[1 << UNWIND_CACHE_BITS];
_Atomic uint32_t unwind_generation;

static struct unwind_rare rare[N_RARE];
static atomic_uint n_rare;
static struct rawmem_lock rare_lock;

static int (*find_object)(void *, struct dl_find_object *);

/* The loader and libc: what has no entry there is the start of a stack (_dl_start_user,
 * __start_context), elsewhere it is code that nobody described. */
static const void *runtime[2];

void unwind_init(void) {
    void *const found = next_symbol(RTLD_DEFAULT, "_dl_find_object");
    memcpy(&find_object, &found, sizeof found);
    static const char *const inside[2] = {"__tls_get_addr", "makecontext"};
    for (unsigned i = 0; i < 2; i++) {
        struct dl_find_object object;
        void *const at = next_symbol(RTLD_DEFAULT, inside[i]);
        if (find_object != NULL && at != NULL && find_object(at, &object) == 0)
            runtime[i] = object.dlfo_link_map;
    }
}

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t get_bytes(struct cursor *c, unsigned n) {
    uint64_t value = 0;
    if ((size_t)(c->end - c->at) < n) {
        c->bad = true;
        return 0;
    }
    memcpy(&value, c->at, n);
    c->at += n;
    return value;
}

static uint64_t get_uleb(struct cursor *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; !c->bad; shift += 7) {
        const uint64_t byte = get_bytes(c, 1);
        if (shift < 64)
            value |= (byte & 127) << shift;
        if (!(byte & 128))
            break;
    }
    return value;
}

static int64_t get_sleb(struct cursor *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; !c->bad;) {
        const uint64_t byte = get_bytes(c, 1);
        if (shift < 64)
            value |= (byte & 127) << shift;
        shift += 7;
        if (!(byte & 128)) {
            if (shift < 64 && byte & 64)
                value |= ~UINT64_C(0) << shift;
            break;
        }
    }
    return (int64_t)value;
}

static uint64_t get_encoded(struct cursor *c, unsigned encoding, uintptr_t data_base) {
    const uintptr_t here = (uintptr_t)c->at;
    uint64_t value;
    switch (encoding & 0x0f) {
    case PE_ABSPTR:
    case PE_UDATA8:
    case PE_SDATA8: value = get_bytes(c, 8); break;
    case PE_UDATA2: value = get_bytes(c, 2); break;
    case PE_SDATA2: value = (uint64_t)(int64_t)(int16_t)get_bytes(c, 2); break;
    case PE_UDATA4: value = get_bytes(c, 4); break;
    case PE_SDATA4: value = (uint64_t)(int64_t)(int32_t)get_bytes(c, 4); break;
    default: c->bad = true; return 0;
    }
    switch (encoding & 0x70) {
    case 0: break;
    case PE_PCREL: value += here; break;
    case PE_DATAREL: value += data_base; break;
    default: c->bad = true;
    }
    return value;
}

struct place { /* where a register of the caller is */
    enum { KEPT, AT_CFA, AT_EXPRESSION, UNDEFINED, OTHER } kind;
    int64_t offset;
    const uint8_t *expression;
    uint64_t length;
};

struct row {
    bool by_expression;
    uint64_t reg;
    int64_t offset;
    const uint8_t *expression;
    uint64_t length;
    struct place bp, ra;
};

struct entry { /* a CIE and FDE that cover pc */
    uint64_t code_align;
    int64_t data_align;
    bool signal;
    uintptr_t start;
    struct cursor cie, fde;
};

/* Runs call frame instructions up to the row of `pc`; false: something unknown. */
static bool run(struct entry *e, struct cursor c, uintptr_t pc, struct row *row,
                const struct row *initial) {
    struct row stack[STATE_DEPTH];
    unsigned depth = 0;
    uintptr_t location = e->start;
    while (c.at < c.end && !c.bad) {
        const unsigned op = (unsigned)get_bytes(&c, 1), low = op & 63;
        struct place place = {OTHER, 0, NULL, 0};
        uint64_t reg = UINT64_MAX;
        switch (op >> 6) {
        case 1:
            location += low * e->code_align;
            if (location > pc)
                return true;
            continue;
        case 2:
            reg = low;
            place.kind = AT_CFA;
            place.offset = (int64_t)get_uleb(&c) * e->data_align;
            break;
        case 3:
            reg = low;
            place = low == REG_RBP ? initial->bp : initial->ra;
            break;
        default:
            switch (op) {
            case 0x00: continue; /* nop */
            case 0x01:           /* set_loc: as an absolute address */
                location = get_bytes(&c, 8);
                if (location > pc)
                    return true;
                continue;
            case 0x02:
                location += get_bytes(&c, 1) * e->code_align;
                if (location > pc)
                    return true;
                continue;
            case 0x03:
                location += get_bytes(&c, 2) * e->code_align;
                if (location > pc)
                    return true;
                continue;
            case 0x04:
                location += get_bytes(&c, 4) * e->code_align;
                if (location > pc)
                    return true;
                continue;
            case 0x05: /* offset_extended */
                reg = get_uleb(&c);
                place.kind = AT_CFA;
                place.offset = (int64_t)get_uleb(&c) * e->data_align;
                break;
            case 0x06: /* restore_extended */
                reg = get_uleb(&c);
                place = reg == REG_RBP ? initial->bp : initial->ra;
                break;
            case 0x07: /* undefined */
                reg = get_uleb(&c);
                place.kind = UNDEFINED;
                break;
            case 0x08: /* same_value */
                reg = get_uleb(&c);
                place.kind = KEPT;
                break;
            case 0x09: /* register */
                reg = get_uleb(&c);
                get_uleb(&c);
                break;
            case 0x0a:
                if (depth == STATE_DEPTH)
                    return false;
                stack[depth++] = *row;
                continue;
            case 0x0b:
                if (depth == 0)
                    return false;
                *row = stack[--depth];
                continue;
            case 0x0c:
                row->by_expression = false;
                row->reg = get_uleb(&c);
                row->offset = (int64_t)get_uleb(&c);
                continue;
            case 0x0d: row->reg = get_uleb(&c); continue;
            case 0x0e: row->offset = (int64_t)get_uleb(&c); continue;
            case 0x0f:
                row->by_expression = true;
                row->length = get_uleb(&c);
                row->expression = c.at;
                if ((uint64_t)(c.end - c.at) < row->length)
                    return false;
                c.at += row->length;
                continue;
            case 0x10: /* expression */
            case 0x16: /* val_expression */
                reg = get_uleb(&c);
                place.kind = op == 0x10 ? AT_EXPRESSION : OTHER;
                place.length = get_uleb(&c);
                place.expression = c.at;
                if ((uint64_t)(c.end - c.at) < place.length)
                    return false;
                c.at += place.length;
                break;
            case 0x11: /* offset_extended_sf */
                reg = get_uleb(&c);
                place.kind = AT_CFA;
                place.offset = get_sleb(&c) * e->data_align;
                break;
            case 0x12:
                row->by_expression = false;
                row->reg = get_uleb(&c);
                row->offset = get_sleb(&c) * e->data_align;
                continue;
            case 0x13: row->offset = get_sleb(&c) * e->data_align; continue;
            case 0x14: /* val_offset */
            case 0x15:
                reg = get_uleb(&c);
                get_uleb(&c);
                break;
            case 0x2e: get_uleb(&c); continue; /* GNU_args_size */
            default: return false;
            }
        }
        if (reg == REG_RBP)
            row->bp = place;
        else if (reg == REG_RA)
            row->ra = place;
    }
    return !c.bad;
}

/* Finds the FDE of pc by the sorted table of .eh_frame_hdr. */
static bool find_entry(const uint8_t *hdr, uintptr_t pc, struct entry *e) {
    if (hdr[0] != 1 || hdr[2] == PE_OMIT || hdr[3] != (PE_DATAREL | PE_SDATA4))
        return false;
    struct cursor c = {hdr + 4, hdr + 4 + 64, false};
    get_encoded(&c, hdr[1], (uintptr_t)hdr);
    const uint64_t n = get_encoded(&c, hdr[2], (uintptr_t)hdr);
    if (c.bad || n == 0)
        return false;
    const int32_t *const table = (const int32_t *)c.at;
    uint64_t low = 0, high = n;
    while (high - low > 1) {
        const uint64_t middle = (low + high) / 2;
        if ((uintptr_t)hdr + (uintptr_t)(intptr_t)table[2 * middle] <= pc)
            low = middle;
        else
            high = middle;
    }
    const uint8_t *const fde = hdr + table[2 * low + 1];
    uint32_t length, back;
    memcpy(&length, fde, 4);
    memcpy(&back, fde + 4, 4);
    if (length == 0 || length == UINT32_MAX || back == 0)
        return false;
    const uint8_t *const cie = fde + 4 - back;
    uint32_t cie_length;
    memcpy(&cie_length, cie, 4);
    if (cie_length == UINT32_MAX || cie_length < 8)
        return false;
    c = (struct cursor){cie + 8, cie + 4 + cie_length, false};
    const unsigned version = (unsigned)get_bytes(&c, 1);
    const char *const augmentation = (const char *)c.at;
    while (!c.bad && get_bytes(&c, 1) != 0)
        continue;
    if (c.bad || (version != 1 && version != 3))
        return false;
    e->code_align = get_uleb(&c);
    e->data_align = get_sleb(&c);
    if ((version == 1 ? get_bytes(&c, 1) : get_uleb(&c)) != REG_RA)
        return false;
    e->signal = false;
    unsigned encoding = PE_ABSPTR;
    bool sized = false;
    if (augmentation[0] == 'z') {
        sized = true;
        const uint64_t size = get_uleb(&c);
        if (c.bad || (uint64_t)(c.end - c.at) < size)
            return false;
        struct cursor a = {c.at, c.at + size, false};
        for (const char *letter = augmentation + 1; *letter; letter++)
            switch (*letter) {
            case 'R': encoding = (unsigned)get_bytes(&a, 1); break;
            case 'P': {
                const unsigned how = (unsigned)get_bytes(&a, 1);
                get_encoded(&a, how & 0x0f, 0);
                break;
            }
            case 'L': get_bytes(&a, 1); break;
            case 'S': e->signal = true; break;
            case 'B': break;
            default: return false;
            }
        if (a.bad)
            return false;
        c.at += size;
    } else if (augmentation[0] != '\0') {
        return false;
    }
    e->cie = c;
    c = (struct cursor){fde + 8, fde + 4 + length, false};
    e->start = get_encoded(&c, encoding & 0x7f, (uintptr_t)hdr);
    const uintptr_t size = get_encoded(&c, encoding & 0x0f, 0);
    if (c.bad || pc < e->start || pc - e->start >= size)
        return false;
    if (sized) {
        const uint64_t skip = get_uleb(&c);
        if (c.bad || (uint64_t)(c.end - c.at) < skip)
            return false;
        c.at += skip;
    }
    e->fde = c;
    return true;
}

/* breg N of rsp or rbp, then at most a load and one addition. */
static bool read_expression(const uint8_t *at, uint64_t length, uint8_t *base, int32_t *offset,
                            bool *load) {
    struct cursor c = {at, at + length, false};
    const unsigned op = (unsigned)get_bytes(&c, 1);
    if (op == 0x70 + REG_RBP)
        *base = UNWIND_BP;
    else if (op == 0x70 + REG_RSP)
        *base = UNWIND_SP;
    else
        return false;
    *offset = (int32_t)get_sleb(&c);
    *load = false;
    if (c.at < c.end) {
        if (get_bytes(&c, 1) != 0x06)
            return false;
        *load = true;
    }
    return !c.bad && c.at == c.end;
}

static uint32_t rare_rule(const struct unwind_rare *rule) {
    unsigned n = atomic_load_explicit(&n_rare, memory_order_acquire);
    for (unsigned i = 0; i < n; i++)
        if (memcmp(&rare[i], rule, sizeof *rule) == 0)
            return UNWIND_RARE | i << 2;
    if (!rawmem_lock(&rare_lock, true))
        return UNWIND_STOP;
    n = atomic_load_explicit(&n_rare, memory_order_relaxed);
    if (n < N_RARE) {
        rare[n] = *rule;
        atomic_store_explicit(&n_rare, n + 1, memory_order_release);
    }
    rawmem_unlock(&rare_lock);
    return n < N_RARE ? UNWIND_RARE | n << 2 : UNWIND_STOP;
}

const struct unwind_rare *unwind_rare_get(uint32_t rule) {
    return &rare[rule >> 2];
}

static uint32_t rule_of_row(const struct row *row) {
    if (row->ra.kind == UNDEFINED)
        return UNWIND_END;
    if (row->ra.kind != AT_CFA || row->ra.offset != -8)
        return UNWIND_STOP;
    if (!row->by_expression && row->reg != REG_RSP && row->reg != REG_RBP)
        return UNWIND_STOP;
    const bool bp_simple = row->bp.kind == KEPT || row->bp.kind == AT_CFA;
    if (!row->by_expression && bp_simple && row->offset > 0 && row->offset % 8 == 0 &&
        row->offset / 8 <= 0x1ffff &&
        (row->bp.kind == KEPT ||
         (row->bp.offset < 0 && row->bp.offset % 8 == 0 && -row->bp.offset / 8 <= 0x1fff)))
        return (row->reg == REG_RBP ? UNWIND_BP : UNWIND_SP) | (uint32_t)(row->offset / 8) << 2 |
               (row->bp.kind == KEPT ? 0 : (uint32_t)(-row->bp.offset / 8) << 19);
    struct unwind_rare rule;
    memset(&rule, 0, sizeof rule);
    if (row->by_expression) {
        bool load;
        if (!read_expression(row->expression, row->length, &rule.cfa_base, &rule.cfa_offset, &load))
            return UNWIND_STOP;
        rule.cfa_load = load;
    } else {
        rule.cfa_base = row->reg == REG_RBP ? UNWIND_BP : UNWIND_SP;
        rule.cfa_offset = (int32_t)row->offset;
    }
    if (row->bp.kind == AT_CFA) {
        rule.bp_saved = 1;
        rule.bp_base = 2;
        rule.bp_offset = (int32_t)row->bp.offset;
    } else if (row->bp.kind == AT_EXPRESSION) {
        bool load;
        rule.bp_saved = 1;
        if (!read_expression(row->bp.expression, row->bp.length, &rule.bp_base, &rule.bp_offset,
                             &load) ||
            load)
            return UNWIND_STOP;
    } else if (row->bp.kind != KEPT) {
        return UNWIND_STOP;
    }
    return rare_rule(&rule);
}

struct search {
    uintptr_t pc;
    const uint8_t *hdr;
};

static int search_one(struct dl_phdr_info *info, size_t size, void *context) {
    struct search *const s = context;
    const uint8_t *hdr = NULL;
    bool inside = false;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const p = &info->dlpi_phdr[i];
        const uintptr_t at = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && s->pc - at < p->p_memsz)
            inside = true;
        if (p->p_type == PT_GNU_EH_FRAME)
            hdr = (const uint8_t *)at;
    }
    if (inside)
        s->hdr = hdr;
    return inside;
}

uint32_t unwind_rule_slowly(uintptr_t return_address) {
    const uintptr_t pc = return_address - 1;
    struct search s = {pc, NULL};
    uint32_t rule = UNWIND_GUESS;
    if (find_object != NULL) {
        struct dl_find_object object;
        if (find_object((void *)pc, &object) == 0) {
            s.hdr = object.dlfo_eh_frame;
            if (object.dlfo_link_map == runtime[0] || object.dlfo_link_map == runtime[1])
                rule = UNWIND_END;
        }
    } else {
        dl_iterate_phdr(search_one, &s);
    }
    if (s.hdr == NULL)
        return rule; /* not kept: code of a JIT compiler may become anything */
    struct entry e;
    if (find_entry(s.hdr, pc, &e)) {
        rule = UNWIND_STOP;
        struct row row;
        memset(&row, 0, sizeof row);
        row.ra.kind = OTHER;
        const struct row nothing = row;
        if (e.signal) {
            rule = UNWIND_SIGNAL;
        } else if (run(&e, e.cie, pc, &row, &nothing)) {
            const struct row initial = row;
            if (run(&e, e.fde, pc, &row, &initial))
                rule = rule_of_row(&row);
        }
    }
    const uint64_t mixed = return_address * UINT64_C(0x9E3779B97F4B) & ((UINT64_C(1) << 48) - 1);
    atomic_store_explicit(&unwind_cache[mixed >> (48 - UNWIND_CACHE_BITS)],
                          (uint64_t)rule << 32 | (uint32_t)mixed, memory_order_relaxed);
    return rule;
}

bool unwind_after_call(uintptr_t pc) {
    if (pc < 4096 || pc >> 47 || !rawmem_readable(pc - 8) || !rawmem_readable(pc))
        return false;
    const uint8_t *const at = (const uint8_t *)pc;
    /* call rel32; call r/m64 by the length of its ModRM, SIB and displacement */
    return at[-5] == 0xe8 || (at[-2] == 0xff && (at[-1] & 0xf8) == 0xd0) ||
           (at[-2] == 0xff && (at[-1] & 0xf8) == 0x10) ||
           (at[-3] == 0xff && ((at[-2] & 0xf8) == 0x50 || at[-2] == 0x14)) ||
           (at[-4] == 0xff && at[-3] == 0x54) ||
           (at[-6] == 0xff && ((at[-5] & 0xf8) == 0x90 || at[-5] == 0x15)) ||
           (at[-7] == 0xff && (at[-6] == 0x94 || at[-6] == 0x14));
}

bool unwind_never_locks(void) {
    return find_object != NULL;
}

void unwind_flush(void) {
    atomic_fetch_add(&unwind_generation, 1);
    for (size_t i = 0; i < 1u << UNWIND_CACHE_BITS; i++)
        if (atomic_load_explicit(&unwind_cache[i], memory_order_relaxed) != 0)
            atomic_store_explicit(&unwind_cache[i], 0, memory_order_relaxed);
}
