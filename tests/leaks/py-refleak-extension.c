/* The extension module of py-refleak: parse(text, careful) makes a list of words. Unless careful it
 * forgets to give back its reference to the list. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *parse(PyObject *module, PyObject *arguments) {
    const char *text;
    int careful;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "sp", &text, &careful))
        return NULL;
    PyObject *const words = PyList_New(0);
    if (words == NULL)
        return NULL;
    for (const char *end; *text != '\0'; text = *end == ' ' ? end + 1 : end) {
        for (end = text; *end != '\0' && *end != ' ';)
            end++;
        PyObject *const word = PyUnicode_FromStringAndSize(text, end - text);
        if (word == NULL || PyList_Append(words, word) < 0) {
            Py_XDECREF(word);
            Py_DECREF(words);
            return NULL;
        }
        Py_DECREF(word);
    }
    PyObject *const result = Py_BuildValue("(On)", words, PyList_GET_SIZE(words));
    if (careful)
        Py_DECREF(words);
    return result;
}

static PyMethodDef methods[] = {{"parse", parse, METH_VARARGS, "(words, their number)"}, {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "leaky_parser",
                                        .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_leaky_parser(void) {
    return PyModule_Create(&definition);
}
