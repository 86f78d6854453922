/* Every number that stands in a .snap file, as constants: magic, sizes, ids of tables and columns,
 * codes.
 *
 * Mirrors snap-format.md and registry.md, which are the authority; tests/lint/registry.py compares
 * them. A number here never changes its meaning. To add one: registry.md first, then here, in one
 * commit (see CONTRIBUTING.md). Holds constants only: no types, no functions, so that C, C++ and
 * scripts can read it. */
#ifndef HEAPSNAP_SNAPDEF_H
#define HEAPSNAP_SNAPDEF_H

#define SNAP_MAGIC "\x89SNAP\r\n\x1a"
#define SNAP_END_MAGIC "\x1a\n\rPANS\x89"
#define SNAP_MAGIC_SIZE 8
#define SNAP_VERSION_MAJOR 1
#define SNAP_VERSION_MINOR 0

#define SNAP_HEADER_SIZE 64
#define SNAP_HEADER_SIZE_MAX 4096
#define SNAP_CHUNK_HEADER_SIZE 32
#define SNAP_FOOTER_SIZE 32
#define SNAP_CHUNK_RAW_MAX (4u << 20)
#define SNAP_CHUNK_ROWS_MAX 65536u
#define SNAP_BYTES_MAX 65535u
#define SNAP_ROWS_MAX 0xfffffffeu
#define SNAP_CHUNKS_MAX 65536u
#define SNAP_COLUMN_ANCILLARY 0x8000u
#define SNAP_COLUMN_ENTRY_SIZE 8
#define SNAP_KEYED_SLOTS 65536u

#define SNAP_ID(a, b, c, d)                                                                        \
    ((unsigned)(a) | (unsigned)(b) << 8 | (unsigned)(c) << 16 | (unsigned)(d) << 24)
#define SNAP_ID_META SNAP_ID('M', 'E', 'T', 'A')
#define SNAP_ID_STRS SNAP_ID('S', 'T', 'R', 'S')
#define SNAP_ID_MODS SNAP_ID('M', 'O', 'D', 'S')
#define SNAP_ID_FRAM SNAP_ID('F', 'R', 'A', 'M')
#define SNAP_ID_STAK SNAP_ID('S', 'T', 'A', 'K')
#define SNAP_ID_SYMB SNAP_ID('S', 'Y', 'M', 'B')
#define SNAP_ID_TYPE SNAP_ID('T', 'Y', 'P', 'E')
#define SNAP_ID_THRD SNAP_ID('T', 'H', 'R', 'D')
#define SNAP_ID_NODE SNAP_ID('N', 'O', 'D', 'E')
#define SNAP_ID_EDGE SNAP_ID('E', 'D', 'G', 'E')
#define SNAP_ID_ROOT SNAP_ID('R', 'O', 'O', 'T')
#define SNAP_ID_HOOK SNAP_ID('H', 'O', 'O', 'K')
#define SNAP_ID_POOL SNAP_ID('P', 'O', 'O', 'L')
#define SNAP_ID_REGN SNAP_ID('R', 'E', 'G', 'N')
#define SNAP_ID_RSRC SNAP_ID('R', 'S', 'R', 'C')
#define SNAP_ID_SUMM SNAP_ID('S', 'U', 'M', 'M')
#define SNAP_ID_TOCC SNAP_ID('T', 'O', 'C', 'C')

enum { SNAP_CODEC_RAW = 0, SNAP_CODEC_ZSTD = 1 };
enum { SNAP_LAYOUT_TABLE = 1 };

enum {
    SNAP_ENC_CONST = 1,
    SNAP_ENC_PLANES = 2,
    SNAP_ENC_DELTA = 3,
    SNAP_ENC_RUNS = 4,
    SNAP_ENC_HUBS = 5,
    SNAP_ENC_BYTES = 6,
    SNAP_ENC_KEYED = 7
};

/* Column ids. */
enum { SNAP_META_COL_KEY = 1, SNAP_META_COL_NAME, SNAP_META_COL_VALUE, SNAP_META_COL_TEXT };
enum { SNAP_STRS_COL_TEXT = 1 };
enum {
    SNAP_MODS_COL_PATH = 1,
    SNAP_MODS_COL_BUILD_ID,
    SNAP_MODS_COL_START,
    SNAP_MODS_COL_END,
    SNAP_MODS_COL_BIAS,
    SNAP_MODS_COL_FLAGS
};
enum { SNAP_FRAM_COL_KIND = 1, SNAP_FRAM_COL_MODULE, SNAP_FRAM_COL_OFFSET, SNAP_FRAM_COL_FLAGS };
enum { SNAP_STAK_COL_PARENT = 1, SNAP_STAK_COL_FRAME, SNAP_STAK_COL_FLAGS };
enum {
    SNAP_SYMB_COL_FRAME = 1,
    SNAP_SYMB_COL_DEPTH,
    SNAP_SYMB_COL_FUNCTION,
    SNAP_SYMB_COL_FILE,
    SNAP_SYMB_COL_LINE,
    SNAP_SYMB_COL_SOURCE
};
enum {
    SNAP_TYPE_COL_NAME = 1,
    SNAP_TYPE_COL_SOURCE,
    SNAP_TYPE_COL_SIZE,
    SNAP_TYPE_COL_FLAGS,
    SNAP_TYPE_COL_MODULE
};
enum {
    SNAP_THRD_COL_TID = 1,
    SNAP_THRD_COL_NAME,
    SNAP_THRD_COL_FLAGS,
    SNAP_THRD_COL_SP,
    SNAP_THRD_COL_STACK_LOW,
    SNAP_THRD_COL_STACK_HIGH,
    SNAP_THRD_COL_STACK
};
enum {
    SNAP_NODE_COL_DOMAIN = 1,
    SNAP_NODE_COL_KIND,
    SNAP_NODE_COL_ADDRESS,
    SNAP_NODE_COL_SIZE,
    SNAP_NODE_COL_TYPE,
    SNAP_NODE_COL_STACK,
    SNAP_NODE_COL_BIRTH,
    SNAP_NODE_COL_FLAGS,
    SNAP_NODE_COL_REFCOUNT,
    SNAP_NODE_COL_HIDDEN,
    SNAP_NODE_COL_THREAD,
    SNAP_NODE_COL_DEVICE,
    SNAP_NODE_COL_POOL,
    SNAP_NODE_COL_LABEL,
    SNAP_NODE_COL_EXTERNAL
};
enum {
    SNAP_EDGE_COL_SOURCE = 1,
    SNAP_EDGE_COL_TARGET,
    SNAP_EDGE_COL_KIND,
    SNAP_EDGE_COL_LABEL,
    SNAP_EDGE_COL_SOURCE_OFFSET,
    SNAP_EDGE_COL_TARGET_OFFSET,
    SNAP_EDGE_COL_FLAGS
};
enum {
    SNAP_ROOT_COL_KIND = 1,
    SNAP_ROOT_COL_TARGET,
    SNAP_ROOT_COL_TARGET_OFFSET,
    SNAP_ROOT_COL_NAME,
    SNAP_ROOT_COL_MODULE,
    SNAP_ROOT_COL_ADDRESS,
    SNAP_ROOT_COL_THREAD,
    SNAP_ROOT_COL_FRAME,
    SNAP_ROOT_COL_FLAGS,
    SNAP_ROOT_COL_LABEL
};
enum {
    SNAP_HOOK_COL_REGISTRY = 1,
    SNAP_HOOK_COL_CALLBACK,
    SNAP_HOOK_COL_FILE,
    SNAP_HOOK_COL_LINE,
    SNAP_HOOK_COL_FRAME,
    SNAP_HOOK_COL_HOLDER,
    SNAP_HOOK_COL_HOLDER_OFFSET,
    SNAP_HOOK_COL_ARGUMENT,
    SNAP_HOOK_COL_STACK,
    SNAP_HOOK_COL_BIRTH,
    SNAP_HOOK_COL_COUNT,
    SNAP_HOOK_COL_KIND,
    SNAP_HOOK_COL_ROOT
};
enum {
    SNAP_POOL_COL_KIND = 1,
    SNAP_POOL_COL_DOMAIN,
    SNAP_POOL_COL_DEVICE,
    SNAP_POOL_COL_NAME,
    SNAP_POOL_COL_ADDRESS,
    SNAP_POOL_COL_SIZE,
    SNAP_POOL_COL_LIVE,
    SNAP_POOL_COL_CACHED,
    SNAP_POOL_COL_LARGEST_GAP,
    SNAP_POOL_COL_MODULE,
    SNAP_POOL_COL_STACK,
    SNAP_POOL_COL_BIRTH,
    SNAP_POOL_COL_PARENT,
    SNAP_POOL_COL_FLAGS
};
enum {
    SNAP_REGN_COL_ADDRESS = 1,
    SNAP_REGN_COL_SIZE,
    SNAP_REGN_COL_KIND,
    SNAP_REGN_COL_PROTECTION,
    SNAP_REGN_COL_NAME,
    SNAP_REGN_COL_STACK,
    SNAP_REGN_COL_BIRTH,
    SNAP_REGN_COL_RESIDENT,
    SNAP_REGN_COL_FLAGS
};
enum {
    SNAP_RSRC_COL_KIND = 1,
    SNAP_RSRC_COL_HANDLE,
    SNAP_RSRC_COL_NAME,
    SNAP_RSRC_COL_MODULE,
    SNAP_RSRC_COL_STACK,
    SNAP_RSRC_COL_BIRTH,
    SNAP_RSRC_COL_DEVICE,
    SNAP_RSRC_COL_SIZE,
    SNAP_RSRC_COL_FLAGS,
    SNAP_RSRC_COL_THREAD
};
enum {
    SNAP_SUMM_COL_KIND = 1,
    SNAP_SUMM_COL_DOMAIN,
    SNAP_SUMM_COL_KEY,
    SNAP_SUMM_COL_KEY2,
    SNAP_SUMM_COL_COUNT,
    SNAP_SUMM_COL_BYTES,
    SNAP_SUMM_COL_LABEL,
    SNAP_SUMM_COL_CACHED
};
enum {
    SNAP_TOCC_COL_ID = 1,
    SNAP_TOCC_COL_OFFSET,
    SNAP_TOCC_COL_STORED_SIZE,
    SNAP_TOCC_COL_RAW_SIZE,
    SNAP_TOCC_COL_N_ROWS
};

/* META keys. (text) (number) (signed) (named: occurs once per name) */
enum {
    SNAP_META_WRITER = 1,     /* text: program and version that wrote the file */
    SNAP_META_LINEAGE = 2,    /* text: 32 hex digits, identity of one process's life */
    SNAP_META_SEQUENCE = 3,   /* number: 1 for the first snapshot of a lineage */
    SNAP_META_PID = 4,        /* number: as the process sees itself */
    SNAP_META_PARENT_PID = 5, /* number */
    SNAP_META_RANK = 6,       /* number: rank in a parallel job; absent: unknown */
    SNAP_META_STEP = 7,       /* signed: user's step or epoch; absent: not given */
    SNAP_META_LABEL = 8,      /* text: user's label */
    SNAP_META_TIME_NS = 9,    /* number: CLOCK_REALTIME at the moment */
    SNAP_META_UPTIME_NS = 10, /* number: CLOCK_MONOTONIC since the recorder started */
    SNAP_META_COMMAND = 11, /* text: command line, arguments separated by one space, shell-quoted */
    SNAP_META_EXECUTABLE = 12,   /* text: path */
    SNAP_META_HOST = 13,         /* text */
    SNAP_META_ARCH = 14,         /* text: as uname -m */
    SNAP_META_PAGE_SIZE = 15,    /* number: bytes */
    SNAP_META_POINTER_SIZE = 16, /* number: bytes */
    SNAP_META_TRIGGER = 17,      /* number: SNAP_TRIGGER_* */
    SNAP_META_CONSISTENCY = 18,  /* number: SNAP_CONSISTENCY_* */
    SNAP_META_PAUSE_NS = 19,     /* number: time that the process was stopped */
    SNAP_META_REDACTION = 20,    /* number: SNAP_REDACTION_* */
    SNAP_META_BIRTH_MARK =
        21, /* number: every later allocation of the lineage has a greater birth */
    SNAP_META_PARENT_LINEAGE = 22, /* text: of the process it was forked from */
    SNAP_META_UNSORTED = 23,       /* number: 1: NODE rows are in no order */
    SNAP_META_TRACKED = 24, /* number: bit set SNAP_TRACKED_*: which worlds were recorded exactly */
    SNAP_META_ALLOCATOR = 25, /* text: the malloc in use: glibc, jemalloc, ... */
    SNAP_META_USER = 32,      /* signed, named: user's counter */
    SNAP_META_PROCESS = 33,   /* number, named: process counter, names in registry.md */
    SNAP_META_COMPLETENESS =
        34, /* number, named: what is missing, names in registry.md; all absent: complete */
    SNAP_META_DEVICE =
        35 /* number, named: UUID and name of a device; the number is the process's for it */
};

enum {
    SNAP_TRIGGER_UNKNOWN = 0,
    SNAP_TRIGGER_API = 1,
    SNAP_TRIGGER_EXIT = 2,
    SNAP_TRIGGER_SIGNAL = 3,
    SNAP_TRIGGER_INTERVAL = 4,
    SNAP_TRIGGER_TAKE = 5,
    SNAP_TRIGGER_CONDITION = 6,
    SNAP_TRIGGER_OUT_OF_MEMORY = 7,
    SNAP_TRIGGER_IMPORT = 8
};
enum {
    SNAP_CONSISTENCY_UNKNOWN = 0,
    SNAP_CONSISTENCY_FORK = 1,    /* threads parked, copied by fork */
    SNAP_CONSISTENCY_STOPPED = 2, /* threads parked, read in place */
    SNAP_CONSISTENCY_RUNNING = 3  /* read while threads ran */
};
enum {
    SNAP_REDACTION_NONE = 0,  /* names as they are */
    SNAP_REDACTION_PATHS = 1, /* host name, command line and directories removed */
    SNAP_REDACTION_NAMES = 2  /* and all user names replaced by salted hashes */
};
enum {
    SNAP_TRACKED_MALLOC = 1,
    SNAP_TRACKED_MMAP = 2,
    SNAP_TRACKED_STACKS = 4,
    SNAP_TRACKED_EDGES = 8,
    SNAP_TRACKED_PYTHON = 16,
    SNAP_TRACKED_CUDA = 32
};

enum {
    SNAP_DOMAIN_HOST = 1,
    SNAP_DOMAIN_PYTHON = 2,
    SNAP_DOMAIN_DEVICE = 3,
    SNAP_DOMAIN_PINNED = 4,
    SNAP_DOMAIN_MANAGED = 5
};
enum {
    SNAP_NODE_BLOCK = 1,        /* malloc family */
    SNAP_NODE_NEW = 2,          /* C++ operator new */
    SNAP_NODE_API_BLOCK = 3,    /* snap_block_* */
    SNAP_NODE_REGION = 4,       /* a mapping as a node */
    SNAP_NODE_OBJECT = 5,       /* managed object under the collector */
    SNAP_NODE_PLAIN_OBJECT = 6, /* managed object outside of it */
    SNAP_NODE_STORAGE = 7,      /* storage of a tensor or array */
    SNAP_NODE_DEVICE_LINEAR = 8,
    SNAP_NODE_DEVICE_ARRAY = 9,
    SNAP_NODE_DEVICE_ASYNC = 10,
    SNAP_NODE_DEVICE_PHYSICAL = 11,
    SNAP_NODE_DEVICE_VIRTUAL = 12,   /* a range of addresses: what is mapped there counts */
    SNAP_NODE_DEVICE_MULTICAST = 13, /* the memory bound to it counts */
    SNAP_NODE_DEVICE_IMPORTED = 14,  /* owned by another process */
    SNAP_NODE_DEVICE_EXTERNAL = 15,  /* owned by another interface */
    SNAP_NODE_DEVICE_GRAPH = 16,     /* an address of a graph: a pool has the memory */
    SNAP_NODE_DEVICE_BLOCK = 17,     /* block of a caching allocator inside a segment */
    SNAP_NODE_REGISTERED = 18        /* host memory pinned in place: the host's block counts */
};
/* Whether nodes of a kind count in totals; 0: another node, a pool or another process holds the
 * memory. The argument is evaluated twice. */
#define SNAP_NODE_IS_COUNTED(kind)                                                                 \
    (!((kind) >= SNAP_NODE_DEVICE_VIRTUAL && (kind) <= SNAP_NODE_DEVICE_GRAPH) &&                  \
     (kind) != SNAP_NODE_REGISTERED)
enum {
    SNAP_NODE_FLAG_INHERITED = 1,    /* allocated by the parent before fork */
    SNAP_NODE_FLAG_BEFORE_START = 2, /* allocated before the recorder ran */
    SNAP_NODE_FLAG_STACK_TRUNCATED = 4,
    SNAP_NODE_FLAG_GARBAGE = 8, /* waits for the collector */
    SNAP_NODE_FLAG_FROZEN = 16,
    SNAP_NODE_FLAG_IMMORTAL = 32,
    SNAP_NODE_FLAG_UNTRACKED = 64,
    SNAP_NODE_FLAG_EXPORTED = 128, /* shared with another process */
    SNAP_NODE_FLAG_PENDING_FREE = 256,
    SNAP_NODE_FLAG_ALIGNED = 512,  /* asked for with an alignment */
    SNAP_NODE_FLAG_RECORDER = 1024 /* the recorder's own */
};
enum {
    SNAP_EDGE_POINTER = 1, /* a word of memory */
    SNAP_EDGE_ATTRIBUTE = 2,
    SNAP_EDGE_KEY = 3,   /* container -> its key object */
    SNAP_EDGE_VALUE = 4, /* container -> value, the label names the key */
    SNAP_EDGE_INDEX = 5,
    SNAP_EDGE_CELL = 6,
    SNAP_EDGE_LOCAL = 7,
    SNAP_EDGE_SLOT = 8,
    SNAP_EDGE_TYPE = 9,      /* object -> its type */
    SNAP_EDGE_INTERNAL = 10, /* found by traversal, no name known */
    SNAP_EDGE_STORAGE = 11,  /* object -> memory that it owns */
    SNAP_EDGE_SAVED = 12,    /* autograd node -> saved tensor */
    SNAP_EDGE_NEXT = 13,     /* autograd node -> next function */
    SNAP_EDGE_HOOK = 14,
    SNAP_EDGE_WEAK = 15,    /* keeps nothing alive */
    SNAP_EDGE_MAPPING = 16, /* virtual -> physical device memory */
    SNAP_EDGE_MEMBER = 17,  /* pool or segment -> block in it; keeps nothing alive */
    SNAP_EDGE_API = 18,     /* snap_edge */
    SNAP_EDGE_DEVICE_POINTER = 19,
    SNAP_EDGE_REGISTERED = 20
};
enum {
    SNAP_EDGE_FLAG_INTERIOR = 1, /* points past the start */
    SNAP_EDGE_FLAG_LOW = 2,      /* low confidence */
    SNAP_EDGE_FLAG_GUESS = 4     /* label or kind is a guess */
};
enum {
    SNAP_ROOT_GLOBAL = 1,
    SNAP_ROOT_STACK = 2,
    SNAP_ROOT_REGISTER = 3,
    SNAP_ROOT_TLS = 4,
    SNAP_ROOT_API = 5,
    SNAP_ROOT_MAPPING = 6, /* unknown writable mapping */
    SNAP_ROOT_ALT_STACK = 7,
    SNAP_ROOT_MODULE = 8, /* Python: sys.modules */
    SNAP_ROOT_INTERPRETER = 9,
    SNAP_ROOT_THREAD = 10,
    SNAP_ROOT_FRAME = 11,
    SNAP_ROOT_CONTEXT = 12,
    SNAP_ROOT_ATEXIT = 13,
    SNAP_ROOT_SIGNAL = 14,
    SNAP_ROOT_CODEC = 15,
    SNAP_ROOT_COLLECTOR = 16,
    SNAP_ROOT_TRACE = 17,
    SNAP_ROOT_EVENT_LOOP = 18,
    SNAP_ROOT_NATIVE = 19, /* hidden reference, holder unknown */
    SNAP_ROOT_DEVICE = 20,
    SNAP_ROOT_RUNTIME = 21 /* any other runtime's */
};
enum {
    SNAP_HOOK_NATIVE = 1, /* function pointer found in memory */
    SNAP_HOOK_API = 2,    /* snap_hook_add */
    SNAP_HOOK_ATEXIT = 3,
    SNAP_HOOK_SIGNAL = 4,
    SNAP_HOOK_THREAD_KEY = 5,
    SNAP_HOOK_PYTHON = 6,
    SNAP_HOOK_TORCH_MODULE = 7,
    SNAP_HOOK_TORCH_TENSOR = 8,
    SNAP_HOOK_TORCH_NODE = 9,
    SNAP_HOOK_TORCH_OPTIMIZER = 10,
    SNAP_HOOK_TORCH_OTHER = 11,
    SNAP_HOOK_COLLECTOR = 12,
    SNAP_HOOK_WEAKREF = 13,
    SNAP_HOOK_EVENT_LOOP = 14,
    SNAP_HOOK_CACHE = 15 /* lru_cache and the like */
};
enum {
    SNAP_POOL_MALLOC = 1,
    SNAP_POOL_API = 2,
    SNAP_POOL_ARENA = 3, /* arena of a managed runtime */
    SNAP_POOL_TORCH_SEGMENT = 4,
    SNAP_POOL_TORCH_PRIVATE = 5, /* of a CUDA graph or MemPool */
    SNAP_POOL_CUDA_MEMPOOL = 6,
    SNAP_POOL_CUDA_GRAPH = 7,
    SNAP_POOL_DRIVER = 8, /* contexts, modules, local memory */
    SNAP_POOL_PINNED = 9,
    SNAP_POOL_OTHER = 10
};
enum { SNAP_POOL_FLAG_EXPANDABLE = 1, SNAP_POOL_FLAG_OPAQUE = 2 /* inside unknown */ };
enum {
    SNAP_REGN_ANONYMOUS = 1,
    SNAP_REGN_HEAP = 2, /* brk */
    SNAP_REGN_STACK = 3,
    SNAP_REGN_FILE = 4,
    SNAP_REGN_SHARED_MEMORY = 5,
    SNAP_REGN_DEVICE = 6,
    SNAP_REGN_SPECIAL = 7, /* vdso and the like */
    SNAP_REGN_RECORDER = 8
};
enum {
    SNAP_RSRC_STREAM = 1,
    SNAP_RSRC_EVENT = 2,
    SNAP_RSRC_GRAPH = 3,
    SNAP_RSRC_GRAPH_EXEC = 4,
    SNAP_RSRC_DEVICE_MODULE = 5,
    SNAP_RSRC_LIBRARY = 6,
    SNAP_RSRC_CONTEXT = 7,
    SNAP_RSRC_LIBRARY_HANDLE = 8, /* cuBLAS, cuDNN, ... */
    SNAP_RSRC_COMMUNICATOR = 9,
    SNAP_RSRC_TEXTURE = 10,
    SNAP_RSRC_THREAD = 11,
    SNAP_RSRC_FILE = 12,
    SNAP_RSRC_SOCKET = 13,
    SNAP_RSRC_PIPE = 14,
    SNAP_RSRC_OTHER_FD = 15,
    SNAP_RSRC_PROCESS_GROUP = 16,
    SNAP_RSRC_EXTERNAL_MEMORY = 17, /* imported from another interface */
    SNAP_RSRC_EXTERNAL_SEMAPHORE = 18,
    SNAP_RSRC_LINKER = 19, /* of device code */
    SNAP_RSRC_SURFACE = 20
};
enum { SNAP_FRAM_NATIVE = 0, SNAP_FRAM_PYTHON = 1, SNAP_FRAM_JIT = 2, SNAP_FRAM_OTHER = 3 };
enum { SNAP_FRAM_FLAG_EXACT = 1 /* not a return address */ };
enum { SNAP_STAK_FLAG_TRUNCATED = 1 /* outermost known frame, more were there */ };
enum {
    SNAP_SYMB_DWARF = 1,
    SNAP_SYMB_SYMTAB = 2,
    SNAP_SYMB_DYNSYM = 3,
    SNAP_SYMB_RUNTIME = 4, /* a managed runtime said so */
    SNAP_SYMB_SEPARATE = 5 /* DWARF from a separate debug file */
};
enum {
    SNAP_TYPE_RUNTIME = 1, /* a managed runtime's own type */
    SNAP_TYPE_API = 2,     /* snap_type */
    SNAP_TYPE_VTABLE = 3,
    SNAP_TYPE_DWARF = 4,
    SNAP_TYPE_GUESS = 5, /* single candidate by size */
    SNAP_TYPE_SITE = 6   /* "allocated in FUNCTION" */
};
enum {
    SNAP_TYPE_FLAG_CONTAINER = 1,
    SNAP_TYPE_FLAG_CLASS = 2,  /* of a managed language: written in it, not in compiled code */
    SNAP_TYPE_FLAG_LIBRARY = 4 /* by what comes with the language, or by an installed package */
};
enum {
    SNAP_MODS_FLAG_MAIN = 1,
    SNAP_MODS_FLAG_UNLOADED = 2,
    SNAP_MODS_FLAG_DELETED = 4,
    SNAP_MODS_FLAG_TYPES_UNREAD = 8 /* debug information that was not read whole */
};
enum {
    SNAP_THRD_FLAG_PARKED = 1,    /* stopped by the rendezvous */
    SNAP_THRD_FLAG_BLOCKED = 2,   /* slept in a system call all the time */
    SNAP_THRD_FLAG_UNSTOPPED = 4, /* ran on */
    SNAP_THRD_FLAG_TAKER = 8,     /* took the snapshot */
    SNAP_THRD_FLAG_MAIN = 16
};
enum {
    SNAP_SUMM_TOTAL = 1,
    SNAP_SUMM_TYPE = 2,
    SNAP_SUMM_SITE = 3,
    SNAP_SUMM_TYPE_EDGE = 4,
    SNAP_SUMM_HOOK = 5,
    SNAP_SUMM_POOL = 6,
    SNAP_SUMM_RESOURCE = 7,
    SNAP_SUMM_REGION = 8 /* by region kind */
};

#endif
