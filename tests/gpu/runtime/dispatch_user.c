/* A library that is linked to dispatch.c's, as frameworks are to cuDNN. */
int cudnnCreate(void **out);
int cudnnDestroy(void *handle);
int plugin_create(void **out);
int plugin_destroy(void *handle);

int plugin_create(void **out) {
    return cudnnCreate(out);
}
int plugin_destroy(void *handle) {
    return cudnnDestroy(handle);
}
