/* Which demangled names are allocator noise. */
#include "symbol/noise.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *const noise[] = {
    "malloc",
    "malloc@plt",
    "calloc",
    "__libc_malloc",
    "__GI___libc_malloc",
    "__GI___strdup",
    "_int_malloc",
    "je_malloc",
    "je_malloc_default",
    "tc_newarray",
    "mi_malloc",
    "_mi_heap_malloc_zero",
    "_mi_malloc_generic",
    "posix_memalign",
    "strdup",
    "xmalloc",
    "g_malloc0_n",
    "g_strdup",
    "zmalloc",
    "ztrymalloc_usable",
    "_PyMem_RawMalloc",
    "PyMem_Malloc",
    "PyObject_Malloc",
    "_PyObject_GC_New",
    "PyType_GenericAlloc",
    "_PyObject_Malloc.constprop.0",
    "operator new(unsigned long)",
    "operator new[](unsigned long, std::nothrow_t const&)",
    "operator new(unsigned long)@plt",
    "operator new",
    "std::allocator<int>::allocate(unsigned long)",
    "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
    "std::__new_allocator<std::_Rb_tree_node<int> >::allocate(unsigned long, void const*)",
    "std::allocator_traits<std::allocator<int> >::allocate(std::allocator<int>&, unsigned long)",
    "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int const&>("
    "__gnu_cxx::__normal_iterator<int*, std::vector<int, std::allocator<int> > >, int const&)",
    "std::vector<int, std::allocator<int> >::operator=(std::vector<int, std::allocator<int> > "
    "const&)",
    "std::_Rb_tree<int, std::pair<int const, A>, std::_Select1st<std::pair<int const, A> >, "
    "std::less<int>, std::allocator<std::pair<int const, A> > >::_M_create_node<int>(int&&)",
    "std::_Rb_tree_node<int>* std::_Rb_tree<int>::_M_create_node<int const&>(int const&)",
    "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> "
    ">::_M_create(unsigned long&, unsigned long)",
    "std::__1::vector<int, std::__1::allocator<int>>::push_back(int const&)",
    "std::__cxx11::list<int, std::allocator<int> >::push_back(int const&)",
    "std::make_shared<A>()",
    "std::_Sp_counted_ptr_inplace<A, std::allocator<void>, (__gnu_cxx::_Lock_policy)2>::f()",
    "std::__cxx11::basic_string<char> std::operator+<char>(char const*, char const*)",
    "decltype(auto) std::make_unique<A, int>(int&&)",
    "c10::alloc_cpu(unsigned long)",
    "c10::DefaultCPUAllocator::allocate(unsigned long) const",
    "alloc::raw_vec::RawVec<T,A>::reserve::do_reserve_and_handle",
    "alloc::vec::Vec<T,A>::push",
    "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
    "__rust_alloc",
};

static const char *const signal_names[] = {
    "",
    "main",
    "mallocate",
    "my_malloc_user",
    "__libc_start_main",
    "__libc_start_call_main",
    "je_session_new_client",
    "mi_parse_query",
    "tc_classify",
    "make_session",
    "session::malloc_count() const",
    "std::thread::_State_impl<std::thread::_Invoker<std::tuple<void (*)()> > >::_M_run()",
    "std::_Function_handler<void (), main::{lambda()#1}>::_M_invoke(std::_Any_data const&)",
    "void std::sort<int*>(int*, int*)",
    "std::locale::classic()",
    "app::vector<int>::push_back(int)",
    "my::std::vector<int>::push_back(int)",
    "load(std::vector<int, std::allocator<int> >&)",
    "std::vector<int, std::allocator<int> > app::load(char const*)",
    "(anonymous namespace)::load(int)",
    "std::shared_ptr<A> (anonymous namespace)::make(int)",
    "app::Cache::operator()(int)",
    "app::operator<<(std::ostream&, app::Cache const&)",
    "app::operator< <int>(int)",
    "app::operator->(int)",
    "main::{lambda(int)#1}::operator()(int) const",
    "PyList_Append",
    "_PyEval_EvalFrameDefault",
    "at::native::add_kernel(at::TensorIteratorBase&)",
    "torch::nn::LinearImpl::forward(at::Tensor const&)",
    "<app::Config as core::default::Default>::default",
    "core::ops::function::FnOnce::call_once",
    "operator<<(std::ostream&, int)",
};

START_TEST(allocators_are_noise) {
    ck_assert_msg(symbol_is_allocator(noise[_i]) == 1, "not noise: %s", noise[_i]);
}
END_TEST

START_TEST(users_are_not) {
    ck_assert_msg(symbol_is_allocator(signal_names[_i]) == 0, "noise: %s", signal_names[_i]);
}
END_TEST

START_TEST(odd_names) {
    ck_assert_int_eq(symbol_is_allocator(NULL), 0);
    ck_assert_int_eq(symbol_is_allocator("<"), 0);
    ck_assert_int_eq(symbol_is_allocator("<<<<"), 0);
    ck_assert_int_eq(symbol_is_allocator("a<b<c"), 0);
    ck_assert_int_eq(symbol_is_allocator("("), 0);
    ck_assert_int_eq(symbol_is_allocator("operator"), 0);
    ck_assert_int_eq(symbol_is_allocator("operator "), 0);
    ck_assert_int_eq(symbol_is_allocator("operator<"), 0);
    ck_assert_int_eq(symbol_is_allocator("operator("), 0);
    char *const large = malloc(1 << 20);
    ck_assert_ptr_nonnull(large);
    static const char filling[] = "<>(: @.x";
    for (size_t k = 0; filling[k]; k++) {
        for (size_t i = 0; i < (1 << 20) - 1; i++)
            large[i] = filling[k];
        large[(1 << 20) - 1] = 0;
        ck_assert_int_eq(symbol_is_allocator(large), 0);
    }
    free(large);
}
END_TEST

START_TEST(managed_places) {
    char out[32];
    symbol_managed_place(out, sizeof out, "/home/a b/train.py", 37, "Net.forward");
    ck_assert_str_eq(out, "train.py:37 Net.forward");
    symbol_managed_place(out, sizeof out, "", 0, "f");
    ck_assert_str_eq(out, "f");
    symbol_managed_place(out, sizeof out, "a.py", 0, "");
    ck_assert_str_eq(out, "a.py");
    symbol_managed_place(out, sizeof out, "", 0, "");
    ck_assert_str_eq(out, "");
    static const char umlauts[] = "äöüäöüäöüäöüäöü", *const all[] = {umlauts, umlauts + 2};
    for (size_t size = 1; size <= sizeof out; size++) { /* cut, but never within a character */
        symbol_managed_place(out, size, "x", 1, all[size % 2]);
        const size_t length = strlen(out);
        ck_assert(length < size && length + 2 >= size);
        ck_assert(length <= 4 || length % 2 == 0);
    }
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("noise");
    TCase *const tcase = tcase_create("noise");
    tcase_add_loop_test(tcase, allocators_are_noise, 0, sizeof noise / sizeof *noise);
    tcase_add_loop_test(tcase, users_are_not, 0, sizeof signal_names / sizeof *signal_names);
    tcase_add_test(tcase, odd_names);
    tcase_add_test(tcase, managed_places);
    suite_add_tcase(suite, tcase);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
