/*
 * A fake of wintun.dll 0.14: its functions, and a network behind its adapters that the tests drive (Fake...).
 * It makes no adapter of Windows. Packets wait in lists in place of rings, with the capacity that a ring would have.
 */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define EXPORT __declspec(dllexport)

enum { MAX_ADAPTERS = 32, MAX_FAILURES = 16, MAX_NAME = 128 };

struct packet {
    struct packet *next;
    DWORD size;
    BYTE data[];
};

struct list {
    struct packet *first, **last;
};

struct adapter {
    BOOL isOpen, isUp, isRemoved, hasSession;
    WCHAR name[MAX_NAME];
    GUID guid;
    HANDLE event;
    DWORD capacity, used;
    struct list arriving, sent;
};

typedef void(CALLBACK *Logger)(int level, DWORD64 time, const WCHAR *message);

static CRITICAL_SECTION lock;
static struct adapter adapters[MAX_ADAPTERS];
static struct {
    char call[32];
    DWORD code;
} failures[MAX_FAILURES];
static Logger logger;
static BOOL hasWrongSize;
static DWORD wrongSize;
static BYTE *wrongAddress;

static void append(struct list *list, struct packet *packet)
{
    if (!list->first)
        list->last = &list->first;
    packet->next = NULL;
    *list->last = packet;
    list->last = &packet->next;
}

static struct packet *takeFirst(struct list *list)
{
    struct packet *packet = list->first;
    if (packet)
        list->first = packet->next;
    return packet;
}

static void clear(struct list *list)
{
    struct packet *packet;
    while ((packet = takeFirst(list)))
        free(packet);
}

static struct packet *packetOf(DWORD size, const void *data)
{
    struct packet *packet = malloc(sizeof(*packet) + size);
    packet->size = size;
    if (data)
        memcpy(packet->data, data, size);
    return packet;
}

/* The octets that a packet takes in a ring. */
static DWORD space(DWORD size)
{
    return (4 + size + 3) & ~3u;
}

static DWORD failureOf(const char *call)
{
    for (int i = 0; i < MAX_FAILURES; i++)
        if (failures[i].code && !strcmp(failures[i].call, call))
            return failures[i].code == (DWORD)-1 ? ERROR_SUCCESS : failures[i].code;
    return ERROR_IO_PENDING; /* none */
}

static BOOL fails(const char *call)
{
    DWORD code = failureOf(call);
    if (code == ERROR_IO_PENDING)
        return FALSE;
    if (logger) {
        WCHAR message[64];
        swprintf(message, 64, L"%hs has failed", call);
        logger(2, 0, message);
    }
    SetLastError(code);
    return TRUE;
}

static BYTE *takeWrongAddress(void)
{
    BYTE *address = wrongAddress;
    wrongAddress = NULL;
    return address;
}

static struct adapter *named(const WCHAR *name)
{
    for (int i = 0; i < MAX_ADAPTERS; i++)
        if (adapters[i].isOpen && !wcscmp(adapters[i].name, name))
            return &adapters[i];
    return NULL;
}

static struct adapter *newAdapter(const WCHAR *name, const GUID *guid)
{
    for (int i = 0; i < MAX_ADAPTERS; i++)
        if (!adapters[i].isOpen) {
            struct adapter *made = &adapters[i];
            memset(made, 0, sizeof(*made));
            made->isOpen = made->isUp = TRUE;
            wcsncpy(made->name, name, MAX_NAME - 1);
            if (guid)
                made->guid = *guid;
            return made;
        }
    SetLastError(ERROR_NO_MORE_ITEMS);
    return NULL;
}

/* The functions of wintun.h */

EXPORT void *WINAPI WintunCreateAdapter(const WCHAR *name, const WCHAR *kind, const GUID *guid)
{
    struct adapter *made = NULL;
    EnterCriticalSection(&lock);
    if (!kind || !*kind)
        SetLastError(ERROR_INVALID_PARAMETER);
    else if (!fails("CreateAdapter"))
        made = newAdapter(name, guid);
    LeaveCriticalSection(&lock);
    return made;
}

EXPORT void *WINAPI WintunOpenAdapter(const WCHAR *name)
{
    struct adapter *made = NULL;
    EnterCriticalSection(&lock);
    if (!fails("OpenAdapter")) {
        if (named(name))
            made = newAdapter(name, NULL);
        else
            SetLastError(ERROR_NOT_FOUND);
    }
    LeaveCriticalSection(&lock);
    return made;
}

EXPORT void WINAPI WintunCloseAdapter(struct adapter *adapter)
{
    if (adapter)
        adapter->isOpen = FALSE;
}

EXPORT void WINAPI WintunGetAdapterLUID(struct adapter *adapter, DWORD64 *luid)
{
    /* The kind of the interface (IF_TYPE_PROP_VIRTUAL), and a number that no interface of this system has. */
    *luid = (DWORD64)53 << 48 | (DWORD64)(0xFFF000 + (adapter - adapters)) << 24;
}

EXPORT DWORD WINAPI WintunGetRunningDriverVersion(void)
{
    return 14;
}

EXPORT BOOL WINAPI WintunDeleteDriver(void)
{
    return TRUE;
}

EXPORT void WINAPI WintunSetLogger(Logger new)
{
    logger = new;
}

EXPORT void *WINAPI WintunStartSession(struct adapter *adapter, DWORD capacity)
{
    if (fails("StartSession"))
        return NULL;
    adapter->capacity = capacity;
    adapter->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    adapter->hasSession = TRUE;
    return adapter;
}

EXPORT void WINAPI WintunEndSession(struct adapter *session)
{
    EnterCriticalSection(&lock);
    session->hasSession = FALSE;
    CloseHandle(session->event);
    clear(&session->arriving);
    clear(&session->sent);
    LeaveCriticalSection(&lock);
}

EXPORT HANDLE WINAPI WintunGetReadWaitEvent(struct adapter *session)
{
    return fails("GetReadWaitEvent") ? NULL : session->event;
}

EXPORT BYTE *WINAPI WintunReceivePacket(struct adapter *session, DWORD *size)
{
    BYTE *data = takeWrongAddress();
    struct packet *packet;
    EnterCriticalSection(&lock);
    if (data)
        *size = 100;
    else if (session->isRemoved)
        SetLastError(ERROR_HANDLE_EOF);
    else if (!fails("ReceivePacket")) {
        packet = takeFirst(&session->arriving);
        if (packet) {
            data = packet->data;
            *size = hasWrongSize ? wrongSize : packet->size;
            hasWrongSize = FALSE;
        } else
            SetLastError(ERROR_NO_MORE_ITEMS);
    }
    LeaveCriticalSection(&lock);
    return data;
}

EXPORT void WINAPI WintunReleaseReceivePacket(struct adapter *session, const BYTE *data)
{
    struct packet *packet = CONTAINING_RECORD(data, struct packet, data);
    EnterCriticalSection(&lock);
    session->used -= space(packet->size);
    LeaveCriticalSection(&lock);
    free(packet);
}

EXPORT BYTE *WINAPI WintunAllocateSendPacket(struct adapter *session, DWORD size)
{
    BYTE *wrong = takeWrongAddress();
    if (wrong)
        return wrong;
    if (session->isRemoved) {
        SetLastError(ERROR_HANDLE_EOF);
        return NULL;
    }
    if (fails("AllocateSendPacket"))
        return NULL;
    if (space(size) > session->capacity - 4) {
        SetLastError(ERROR_BUFFER_OVERFLOW);
        return NULL;
    }
    return packetOf(size, NULL)->data;
}

EXPORT void WINAPI WintunSendPacket(struct adapter *session, const BYTE *data)
{
    struct packet *packet = CONTAINING_RECORD(data, struct packet, data);
    EnterCriticalSection(&lock);
    if (session->isUp)
        append(&session->sent, packet);
    else
        free(packet);
    LeaveCriticalSection(&lock);
}

/* The network */

EXPORT void FakeDeliver(const WCHAR *name, const BYTE *data, DWORD size)
{
    struct adapter *adapter;
    EnterCriticalSection(&lock);
    adapter = named(name);
    if (adapter->hasSession && adapter->isUp && adapter->used + space(size) < adapter->capacity) {
        adapter->used += space(size);
        append(&adapter->arriving, packetOf(size, data));
        SetEvent(adapter->event);
    }
    LeaveCriticalSection(&lock);
}

/* Returns the size of the next packet that the program has sent; -1: there is none. */
EXPORT int FakeTake(const WCHAR *name, BYTE *data, DWORD size)
{
    int length = -1;
    struct packet *packet;
    EnterCriticalSection(&lock);
    packet = takeFirst(&named(name)->sent);
    if (packet) {
        length = packet->size;
        memcpy(data, packet->data, min(size, packet->size));
        free(packet);
    }
    LeaveCriticalSection(&lock);
    return length;
}

EXPORT void FakeSetLink(const WCHAR *name, BOOL isUp)
{
    named(name)->isUp = isUp;
}

EXPORT void FakeRemove(const WCHAR *name)
{
    struct adapter *adapter = named(name);
    adapter->isRemoved = TRUE;
    adapter->name[0] = 0;
    SetEvent(adapter->event);
}

EXPORT void FakeSignal(const WCHAR *name)
{
    SetEvent(named(name)->event);
}

/* A call fails from now on with this error; -1: without an error; 0: it does not fail any more. */
EXPORT void FakeFail(const char *call, DWORD code)
{
    int free = -1;
    for (int i = 0; i < MAX_FAILURES; i++) {
        if (!failures[i].code)
            free = i;
        else if (!strcmp(failures[i].call, call))
            failures[i].code = 0, free = i;
    }
    strncpy(failures[free].call, call, sizeof(failures[free].call) - 1);
    failures[free].code = code;
}

EXPORT void FakeWrongSize(DWORD size)
{
    hasWrongSize = TRUE;
    wrongSize = size;
}

/* The next packet to receive or to send has this address. */
EXPORT void FakeWrongAddress(BYTE *address)
{
    wrongAddress = address;
}

EXPORT void FakeGUID(const WCHAR *name, GUID *guid)
{
    *guid = named(name)->guid;
}

EXPORT int FakeOpened(void)
{
    int opened = 0;
    for (int i = 0; i < MAX_ADAPTERS; i++)
        opened += adapters[i].isOpen + adapters[i].hasSession;
    return opened;
}

static DWORD WINAPI logNow(void *argument)
{
    (void)argument;
    if (logger) {
        logger(0, 0, L"a message of another thread");
        logger(2, 0, L"an error of another thread");
        logger(2, 0, NULL);
    }
    return 0;
}

/* Log from a thread that the program has not made. */
EXPORT void FakeLog(void)
{
    HANDLE thread = CreateThread(NULL, 0, logNow, NULL, 0, NULL);
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)module, (void)reserved;
    if (reason == DLL_PROCESS_ATTACH)
        InitializeCriticalSection(&lock);
    return TRUE;
}
