/* bcryptprimitives.dll, which Wine 8 lacks: the one function that Rust's standard library calls. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T octets)
{
    return RtlGenRandom(buffer, (ULONG)octets);
}
