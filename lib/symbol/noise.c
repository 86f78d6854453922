/* Names of functions that are allocator noise, as a table over plain qualified names.
 *
 * A demangled name is first reduced to its path: template arguments, parameters, return type, ABI
 * namespaces (std::__cxx11, std::__1) and clone suffixes dropped, so `void std::vector<int,
 * std::allocator<int> >::_M_realloc_insert<int const&>(...)` is `std::vector::_M_realloc_insert`.
 * The table is searched from end to end: a label is made once per distinct function. Library
 * algorithms that call back into user code (sort, function invokers, threads) are not noise. */
#include "symbol/noise.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum match {
    EXACT,  /* the whole path */
    PREFIX, /* the path begins so; a pattern that ends in "::" is a class or namespace */
};

struct rule {
    const char *pattern;
    enum match match;
};

static const struct rule rules[] = {
    /* the C allocator and what wraps it under other names */
    {"malloc", EXACT},
    {"calloc", EXACT},
    {"realloc", EXACT},
    {"reallocarray", EXACT},
    {"recallocarray", EXACT},
    {"free", EXACT},
    {"cfree", EXACT},
    {"memalign", EXACT},
    {"aligned_alloc", EXACT},
    {"posix_memalign", EXACT},
    {"valloc", EXACT},
    {"pvalloc", EXACT},
    {"malloc_usable_size", EXACT},
    {"_int_malloc", EXACT},
    {"_int_realloc", EXACT},
    {"_int_memalign", EXACT},
    {"_mid_memalign", EXACT},
    {"sysmalloc", EXACT},
    {"sysmalloc_mmap", EXACT},
    {"tcache_init", EXACT},
    {"strdup", EXACT},
    {"strndup", EXACT},
    {"__strdup", EXACT},
    {"__strndup", EXACT},
    {"wcsdup", EXACT},
    {"__wcsdup", EXACT},
    {"asprintf", EXACT},
    {"vasprintf", EXACT},
    {"__asprintf", EXACT},
    {"__asprintf_chk", EXACT},
    {"__vasprintf", EXACT},
    {"__vasprintf_chk", EXACT},
    {"__vasprintf_internal", EXACT},
    {"getline", EXACT},
    {"getdelim", EXACT},
    {"__getdelim", EXACT},
    {"_IO_getdelim", EXACT},
    {"xmalloc", EXACT},
    {"xcalloc", EXACT},
    {"xrealloc", EXACT},
    {"xreallocarray", EXACT},
    {"xnmalloc", EXACT},
    {"xnrealloc", EXACT},
    {"x2realloc", EXACT},
    {"x2nrealloc", EXACT},
    {"xzalloc", EXACT},
    {"xmemdup", EXACT},
    {"xstrdup", EXACT},
    {"xstrndup", EXACT},
    {"xasprintf", EXACT},
    {"xvasprintf", EXACT},
    {"xcharalloc", EXACT},
    {"ximalloc", EXACT},
    {"xicalloc", EXACT},
    {"xirealloc", EXACT},
    {"safe_malloc", EXACT},
    {"safe_calloc", EXACT},
    {"safe_realloc", EXACT},
    {"checked_malloc", EXACT},
    {"emalloc", EXACT},
    {"ecalloc", EXACT},
    {"erealloc", EXACT},
    {"estrdup", EXACT},
    {"zmalloc", EXACT},
    {"zcalloc", EXACT},
    {"zrealloc", EXACT},
    {"ztrymalloc", PREFIX},
    {"ztrycalloc", PREFIX},
    {"ztryrealloc", PREFIX},
    {"zmalloc_", PREFIX},
    {"zcalloc_", PREFIX},
    {"zrealloc_", PREFIX},
    {"zstrdup", EXACT},

    /* other allocators */
    {"scalable_malloc", EXACT},
    {"scalable_calloc", EXACT},
    {"scalable_realloc", EXACT},
    {"scalable_posix_memalign", EXACT},
    {"scalable_aligned_malloc", EXACT},
    {"mallocx", EXACT},
    {"rallocx", EXACT},
    {"do_rallocx", EXACT},
    {"tcmalloc::", PREFIX},
    {"rpmalloc", PREFIX},
    {"rpcalloc", EXACT},
    {"rprealloc", EXACT},
    {"mkl_malloc", EXACT},
    {"mkl_serv_malloc", EXACT},
    {"mkl_serv_allocate", EXACT},

    /* GLib, APR, talloc, SQLite, OpenSSL, libxml2, Lua */
    {"g_malloc", PREFIX},
    {"g_try_malloc", PREFIX},
    {"g_realloc", PREFIX},
    {"g_try_realloc", PREFIX},
    {"g_aligned_alloc", PREFIX},
    {"g_slice_alloc", PREFIX},
    {"g_slice_copy", EXACT},
    {"g_strdup", PREFIX},
    {"g_strndup", EXACT},
    {"g_strdup_printf", EXACT},
    {"g_strconcat", EXACT},
    {"g_memdup", PREFIX},
    {"g_vasprintf", EXACT},
    {"apr_palloc", PREFIX},
    {"apr_pcalloc", PREFIX},
    {"talloc_named", PREFIX},
    {"_talloc", PREFIX},
    {"__talloc", PREFIX},
    {"sqlite3MemMalloc", EXACT},
    {"sqlite3MemRealloc", EXACT},
    {"sqlite3Malloc", EXACT},
    {"sqlite3MallocZero", EXACT},
    {"sqlite3Realloc", EXACT},
    {"sqlite3_malloc", EXACT},
    {"sqlite3_malloc64", EXACT},
    {"sqlite3_realloc", EXACT},
    {"sqlite3_realloc64", EXACT},
    {"sqlite3DbMallocRaw", PREFIX},
    {"sqlite3DbMallocZero", EXACT},
    {"sqlite3DbRealloc", PREFIX},
    {"sqlite3DbStrDup", EXACT},
    {"sqlite3DbStrNDup", EXACT},
    {"dbMallocRawFinish", EXACT},
    {"dbReallocFinish", EXACT},
    {"mallocWithAlarm", EXACT},
    {"CRYPTO_malloc", EXACT},
    {"CRYPTO_zalloc", EXACT},
    {"CRYPTO_realloc", EXACT},
    {"CRYPTO_clear_realloc", EXACT},
    {"CRYPTO_strdup", EXACT},
    {"CRYPTO_strndup", EXACT},
    {"CRYPTO_memdup", EXACT},
    {"OPENSSL_malloc", EXACT},
    {"OPENSSL_zalloc", EXACT},
    {"xmlMallocLoc", EXACT},
    {"xmlStrdup", EXACT},
    {"xmlStrndup", EXACT},
    {"l_alloc", EXACT},
    {"luaM_malloc_", EXACT},
    {"luaM_realloc_", EXACT},
    {"luaM_saferealloc_", EXACT},
    {"luaM_growaux_", EXACT},
    {"av_malloc", PREFIX},
    {"av_mallocz", EXACT},
    {"av_calloc", EXACT},
    {"av_realloc", PREFIX},

    /* CPython */
    {"_PyMem_", PREFIX},
    {"PyMem_", PREFIX},
    {"PyObject_Malloc", EXACT},
    {"PyObject_Calloc", EXACT},
    {"PyObject_Realloc", EXACT},
    {"PyObject_Free", EXACT},
    {"_PyObject_Malloc", EXACT},
    {"_PyObject_Calloc", EXACT},
    {"_PyObject_Realloc", EXACT},
    {"_PyObject_Free", EXACT},
    {"_PyObject_Arena", PREFIX},
    {"_PyObject_New", EXACT},
    {"_PyObject_NewVar", EXACT},
    {"_PyObject_GC_New", EXACT},
    {"_PyObject_GC_NewVar", EXACT},
    {"_PyObject_GC_Alloc", EXACT},
    {"_PyObject_GC_Malloc", EXACT},
    {"_PyObject_GC_Calloc", EXACT},
    {"_PyObject_GC_Resize", EXACT},
    {"_PyType_AllocNoTrack", EXACT},
    {"PyType_GenericAlloc", EXACT},
    {"PyType_GenericNew", EXACT},
    {"gc_alloc", EXACT},
    {"new_arena", EXACT},
    {"allocate_from_new_pool", EXACT},
    {"pymalloc_alloc", EXACT},
    {"pymalloc_realloc", EXACT},
    {"pymalloc_", PREFIX},
    {"_PyBytes_FromSize", EXACT},
    {"PyUnicode_New", EXACT},

    /* NumPy and PyTorch */
    {"PyDataMem_", PREFIX},
    {"npy_alloc_cache", PREFIX},
    {"_npy_alloc_cache", EXACT},
    {"default_malloc", EXACT},
    {"default_calloc", EXACT},
    {"default_realloc", EXACT},
    {"cudaMalloc", PREFIX},
    {"cudaHostAlloc", PREFIX},
    {"cudaHostRegister", PREFIX},
    {"cudaMemPool", PREFIX},
    {"cudaStreamCreate", PREFIX},
    {"cudaEventCreate", PREFIX},
    {"cudaGraph", PREFIX},
    {"nvtxMem", PREFIX},
    {"cuMem", PREFIX},
    {"cuArray", PREFIX},
    {"cuMipmappedArray", PREFIX},
    {"cuStream", PREFIX},
    {"cuEventCreate", PREFIX},
    {"cuGraph", PREFIX},
    {"cuModule", PREFIX},
    {"cuLibrary", PREFIX},
    {"c10::cuda::CUDACachingAllocator::", PREFIX},
    {"c10::alloc_cpu", EXACT},
    {"c10::free_cpu", EXACT},
    {"c10::DefaultCPUAllocator::", PREFIX},
    {"c10::DefaultMobileCPUAllocator::", PREFIX},
    {"c10::Allocator::", PREFIX},
    {"c10::StorageImpl::", PREFIX},
    {"c10::intrusive_ptr::make", EXACT},
    {"c10::make_intrusive", EXACT},
    {"c10::detail::intrusive_", PREFIX},
    {"c10::SmallVectorBase::", PREFIX},
    {"c10::SmallVectorTemplateBase::", PREFIX},
    {"c10::SmallVectorImpl::", PREFIX},
    {"c10::cuda::CUDACachingAllocator::", PREFIX},
    {"at::detail::empty_generic", PREFIX},
    {"at::detail::_empty_generic", PREFIX},
    {"at::detail::empty_cpu", PREFIX},
    {"at::detail::empty_strided_", PREFIX},
    {"at::native::empty_cpu", EXACT},
    {"at::native::empty_strided_cpu", EXACT},

    /* the C++ language and libstdc++ or libc++ */
    {"operator new", EXACT},
    {"operator new[]", EXACT},
    {"operator delete", EXACT},
    {"operator delete[]", EXACT},
    {"__cxa_allocate_exception", EXACT},
    {"__cxa_vec_new", PREFIX},
    {"__gnu_cxx::new_allocator::", PREFIX},
    {"__gnu_cxx::malloc_allocator::", PREFIX},
    {"__gnu_cxx::bitmap_allocator::", PREFIX},
    {"__gnu_cxx::__pool_alloc::", PREFIX},
    {"__gnu_cxx::__mt_alloc::", PREFIX},
    {"__gnu_cxx::__alloc_traits::", PREFIX},
    {"__gnu_cxx::__aligned_buffer::", PREFIX},
    {"__gnu_cxx::__to_xstring", EXACT},
    {"std::__new_allocator::", PREFIX},
    {"std::allocator::", PREFIX},
    {"std::allocator_traits::", PREFIX},
    {"std::__allocate_guarded", EXACT},
    {"std::__allocated_ptr::", PREFIX},
    {"std::__libcpp_allocate", EXACT},
    {"std::__libcpp_operator_new", EXACT},
    {"std::__allocate_at_least", EXACT},
    {"std::__allocation_guard::", PREFIX},
    {"std::__split_buffer::", PREFIX},
    {"std::pmr::", PREFIX},
    {"std::get_temporary_buffer", EXACT},
    {"std::_Temporary_buffer::", PREFIX},
    {"std::vector::", PREFIX},
    {"std::_Vector_base::", PREFIX},
    {"std::__vector_base::", PREFIX},
    {"std::_Bvector_base::", PREFIX},
    {"std::deque::", PREFIX},
    {"std::_Deque_base::", PREFIX},
    {"std::__deque_base::", PREFIX},
    {"std::list::", PREFIX},
    {"std::_List_base::", PREFIX},
    {"std::__list_imp::", PREFIX},
    {"std::forward_list::", PREFIX},
    {"std::_Fwd_list_base::", PREFIX},
    {"std::__forward_list_base::", PREFIX},
    {"std::map::", PREFIX},
    {"std::multimap::", PREFIX},
    {"std::set::", PREFIX},
    {"std::multiset::", PREFIX},
    {"std::_Rb_tree::", PREFIX},
    {"std::__tree::", PREFIX},
    {"std::unordered_map::", PREFIX},
    {"std::unordered_multimap::", PREFIX},
    {"std::unordered_set::", PREFIX},
    {"std::unordered_multiset::", PREFIX},
    {"std::_Hashtable::", PREFIX},
    {"std::__hash_table::", PREFIX},
    {"std::__detail::_Hashtable", PREFIX},
    {"std::__detail::_Map_base::", PREFIX},
    {"std::__detail::_Insert", PREFIX},
    {"std::__detail::_ReuseOrAllocNode::", PREFIX},
    {"std::__detail::_AllocNode::", PREFIX},
    {"std::stack::", PREFIX},
    {"std::queue::", PREFIX},
    {"std::priority_queue::", PREFIX},
    {"std::valarray::", PREFIX},
    {"std::__valarray_get_storage", EXACT},
    {"std::__valarray_get_memory", EXACT},
    {"std::basic_string::", PREFIX},
    {"std::string::", PREFIX},
    {"std::wstring::", PREFIX},
    {"std::basic_stringbuf::", PREFIX},
    {"std::basic_stringstream::", PREFIX},
    {"std::basic_ostringstream::", PREFIX},
    {"std::basic_istringstream::", PREFIX},
    {"std::getline", EXACT},
    {"std::to_string", EXACT},
    {"std::to_wstring", EXACT},
    {"std::operator+", EXACT},
    {"std::__str_concat", EXACT},
    {"std::shared_ptr::", PREFIX},
    {"std::__shared_ptr::", PREFIX},
    {"std::__shared_count::", PREFIX},
    {"std::__shared_weak_count::", PREFIX},
    {"std::__shared_ptr_emplace::", PREFIX},
    {"std::_Sp_", PREFIX},
    {"std::make_shared", PREFIX},
    {"std::allocate_shared", PREFIX},
    {"std::make_unique", PREFIX},
    {"std::unique_ptr::", PREFIX},
    {"std::_MakeUniq::", PREFIX},
    {"std::function::function", EXACT},
    {"std::function::operator=", EXACT},
    {"std::_Function_base::", PREFIX},
    {"std::_Any_data::", PREFIX},
    {"std::any::", PREFIX},
    {"std::make_any", EXACT},
    {"std::optional::", PREFIX},
    {"std::_Optional_payload", PREFIX},
    {"std::construct_at", EXACT},
    {"std::_Construct", EXACT},
    {"std::_Construct_novalue", EXACT},
    {"std::__construct_at", EXACT},
    {"std::uninitialized_", PREFIX},
    {"std::__uninitialized_", PREFIX},
    {"std::__do_uninit_copy", EXACT},
    {"std::__relocate_a", PREFIX},
    {"std::__relocate_object_a", EXACT},
    {"std::copy", EXACT},
    {"std::__copy_move", PREFIX},
    {"std::back_insert_iterator::", PREFIX},
    {"std::front_insert_iterator::", PREFIX},
    {"std::insert_iterator::", PREFIX},
    {"std::pair::pair", EXACT},
    {"std::tuple::tuple", EXACT},
    {"std::_Tuple_impl::_Tuple_impl", EXACT},
    {"std::_Head_base::_Head_base", EXACT},

    /* kept C++ libraries */
    {"boost::container::", PREFIX},
    {"boost::make_shared", EXACT},
    {"boost::shared_ptr::", PREFIX},
    {"boost::detail::shared_count::", PREFIX},
    {"boost::unordered::detail::", PREFIX},
    {"boost::pool", PREFIX},
    {"absl::container_internal::", PREFIX},
    {"absl::inlined_vector_internal::", PREFIX},
    {"absl::InlinedVector::", PREFIX},
    {"folly::fbvector::", PREFIX},
    {"folly::fbstring_core::", PREFIX},
    {"folly::basic_fbstring::", PREFIX},
    {"folly::small_vector::", PREFIX},
    {"folly::f14::", PREFIX},
    {"llvm::SmallVector", PREFIX},
    {"llvm::BumpPtrAllocatorImpl::", PREFIX},
    {"llvm::allocate_buffer", EXACT},
    {"llvm::safe_malloc", EXACT},
    {"google::protobuf::Arena::", PREFIX},
    {"google::protobuf::internal::ThreadSafeArena::", PREFIX},
    {"google::protobuf::internal::SerialArena::", PREFIX},
    {"google::protobuf::RepeatedField::", PREFIX},
    {"google::protobuf::internal::RepeatedPtrFieldBase::", PREFIX},
    {"Eigen::internal::aligned_malloc", EXACT},
    {"Eigen::internal::handmade_aligned_malloc", EXACT},
    {"Eigen::internal::conditional_aligned_", PREFIX},
    {"Eigen::DenseStorage::", PREFIX},
    {"QArrayData::", PREFIX},
    {"QListData::", PREFIX},
    {"QHashData::", PREFIX},
    {"QMapDataBase::", PREFIX},

    /* Rust; paths are reduced like those of C++ */
    {"__rust_alloc", PREFIX},
    {"__rust_realloc", EXACT},
    {"__rdl_alloc", PREFIX},
    {"__rdl_realloc", EXACT},
    {"__rg_alloc", PREFIX},
    {"__rg_realloc", EXACT},
    {"alloc::alloc::", PREFIX},
    {"alloc::raw_vec::", PREFIX},
    {"alloc::vec::", PREFIX},
    {"alloc::boxed::", PREFIX},
    {"alloc::string::", PREFIX},
    {"alloc::sync::Arc::new", EXACT},
    {"alloc::rc::Rc::new", EXACT},
    {"alloc::slice::", PREFIX},
    {"alloc::collections::", PREFIX},
    {"alloc::fmt::format", PREFIX},
    {"hashbrown::raw::", PREFIX},
    {"hashbrown::map::", PREFIX},
    {"std::alloc::", PREFIX},
    {"std::sys::alloc::", PREFIX},
};

/* Prefixes that name an allocator only before one of these: __libc_malloc is noise,
 * __libc_start_main is where a program begins. */
static const char *const c_prefixes[] = {
    "__libc_", "__GI___libc_", "__GI___", "__GI_", "__interceptor_", "__wrap_",
    "__real_", "je_",          "tc_",     "mi_",   "_mi_",           "rpm_"};
static const char *const c_suffixes[] = {
    "malloc",         "calloc",       "zalloc",         "realloc",
    "reallocf",       "reallocarray", "memalign",       "valloc",
    "pvalloc",        "strdup",       "strndup",        "aligned_alloc",
    "posix_memalign", "new",          "newarray",       "mallocn",
    "mallocx",        "rallocx",      "callocn",        "reallocn",
    "rezalloc",       "recalloc",     "malloc_default", "malloc_generic",
    "page_malloc",    "heap_malloc",  "heap_zalloc",    "heap_calloc",
    "heap_realloc"};

static int begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The C names whose prefix alone says too little. */
static int is_prefixed_c_allocator(const char *path) {
    for (size_t i = 0; i < sizeof c_prefixes / sizeof *c_prefixes; i++) {
        if (!begins(path, c_prefixes[i]))
            continue;
        const char *const rest = path + strlen(c_prefixes[i]);
        for (size_t j = 0; j < sizeof c_suffixes / sizeof *c_suffixes; j++) {
            if (begins(rest, c_suffixes[j]))
                return 1;
        }
    }
    return 0;
}

static int is_word(char c) {
    return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* Whether the text ends in the keyword operator, so that what follows is its symbol. */
static int ends_in_operator(const char *text, size_t length) {
    static const char keyword[] = "operator";
    const size_t n = sizeof keyword - 1;
    return length >= n && memcmp(text + length - n, keyword, n) == 0 &&
           (length == n || !is_word(text[length - n - 1]));
}

/* ABI namespaces between std:: and the name proper. */
static size_t drop_abi_namespace(const char *path, size_t length) {
    static const char *const names[] = {"__cxx11::", "__1::", "__ndk1::", "__debug::", "__8::"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (length >= n && memcmp(path + length - n, names[i], n) == 0 &&
            (length == n || !is_word(path[length - n - 1])))
            return length - n;
    }
    return length;
}

/* Reduces a demangled name to its path (see above). Returns the length; the path is cut at size - 1
 * bytes, far beyond every pattern. */
static size_t reduce(const char *name, char *path, size_t size) {
    size_t length = 0;
    const size_t limit = 64 * 1024;
    for (size_t i = 0; name[i] && i < limit; i++) {
        const char c = name[i];
        if (c == '<' && ends_in_operator(path, length)) {
            while ((name[i] == '<' || name[i] == '=' || name[i] == '>') && length < size - 1)
                path[length++] = name[i++];
            i--;
            continue;
        }
        if (c == '<') {
            /* A Rust path may begin with <T as Trait>: T is what counts. */
            if (length == 0)
                continue;
            size_t depth = 1;
            for (i++; name[i] && i < limit; i++) {
                depth += name[i] == '<';
                if (name[i] == '>' && name[i - 1] != '-' && --depth == 0)
                    break;
            }
            if (!name[i])
                break;
            if (length >= 2 && path[length - 1] == ':' && path[length - 2] == ':')
                length -= 2; /* Rust: Vec::<T>::push */
            continue;
        }
        if (c == '(') {
            static const char anonymous[] = "(anonymous namespace)";
            if (strncmp(name + i, anonymous, sizeof anonymous - 1) == 0) {
                i += sizeof anonymous - 2;
                if (name[i + 1] == ':' && name[i + 2] == ':')
                    i += 2;
                continue;
            }
            if (ends_in_operator(path, length) && name[i + 1] == ')') {
                i++;
                if (length + 2 < size) {
                    path[length++] = '(';
                    path[length++] = ')';
                }
                continue;
            }
            if (length >= 8 && memcmp(path + length - 8, "decltype", 8) == 0) {
                size_t depth = 1;
                for (i++; name[i] && i < limit; i++) {
                    depth += name[i] == '(';
                    if (name[i] == ')' && --depth == 0)
                        break;
                }
                if (!name[i])
                    break;
                continue;
            }
            /* A local entity: f(int)::{lambda()#1}::operator()() belongs to f's author. */
            break;
        }
        if (c == ' ') {
            if (ends_in_operator(path, length)) {
                if (length < size - 1)
                    path[length++] = c;
                continue;
            }
            if (begins(name + i, " as ") || begins(name + i, " [") || begins(name + i, " const"))
                break;
            length = 0; /* what stood before was the return type */
            continue;
        }
        if (c == '@' || (c == '.' && length > 0))
            break;
        if (c == '>')
            continue;
        if (length < size - 1)
            path[length++] = c;
        if (c == ':')
            length = drop_abi_namespace(path, length);
    }
    path[length] = 0;
    return length;
}

int symbol_is_allocator(const char *function) {
    if (!function)
        return 0;
    char path[256] = "";
    if (reduce(function, path, sizeof path) == 0)
        return 0;
    if (is_prefixed_c_allocator(path))
        return 1;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *const rule = &rules[i];
        if (rule->match == EXACT ? strcmp(path, rule->pattern) == 0 : begins(path, rule->pattern))
            return 1;
    }
    return 0;
}

void symbol_managed_place(char *out, size_t size, const char *file, uint64_t line,
                          const char *function) {
    const char *const slash = strrchr(file, '/');
    const char *const name = slash ? slash + 1 : file;
    char where[32] = "";
    if (line)
        snprintf(where, sizeof where, ":%llu", (unsigned long long)line);
    const int length = snprintf(out, size, "%s%s%s%s", name, where,
                                *function && (*name || line) ? " " : "", function);
    size_t end = length < 0 ? 0 : (size_t)length;
    if (end >= size) { /* not within a UTF-8 sequence */
        end = size - 1;
        size_t lead = end;
        while (lead > 0 && (out[lead - 1] & 0xc0) == 0x80)
            lead--;
        const unsigned first = lead > 0 ? (unsigned char)out[lead - 1] : 0;
        const size_t whole = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
        if (end - lead + 1 < whole)
            end = lead - 1;
    }
    out[end] = '\0';
}
