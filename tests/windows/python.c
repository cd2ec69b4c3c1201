/* The program python.exe. The wheel that CPython for Windows is taken from has its library only. */
#include <wchar.h>

extern int Py_Main(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    return Py_Main(argc, argv);
}
