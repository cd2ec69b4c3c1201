/*
 * A fake of iphlpapi.dll, which keeps its tables in memory: the system under Wine lacks the functions that change
 * interfaces. The headers of Windows declare each function, so that the compiler checks the calls and the structures.
 */

#define _WIN32_WINNT 0x0a00
#include <winsock2.h>
#include <ws2tcpip.h>
#include <iphlpapi.h>
#include <ntddndis.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

/* The numbers that the package has, too: tests/device/windows/constants.py reads them from here. */
#define SIZE(type, size) _Static_assert (sizeof (type) == size, #type);
#define FIELD(type, field, position, size) \
    _Static_assert (offsetof (type, field) == position && sizeof (((type *) 0)->field) == size, #type "." #field);
#define NUMBER(name, value) _Static_assert ((name) == (value), #name);

SIZE(SOCKADDR_INET, 28)
FIELD(SOCKADDR_INET, si_family, 0, 2)
FIELD(SOCKADDR_INET, Ipv4.sin_port, 2, 2)
FIELD(SOCKADDR_INET, Ipv4.sin_addr, 4, 4)
FIELD(SOCKADDR_INET, Ipv6.sin6_addr, 8, 16)
FIELD(SOCKADDR_INET, Ipv6.sin6_scope_id, 24, 4)

SIZE(IP_ADDRESS_PREFIX, 32)
FIELD(IP_ADDRESS_PREFIX, Prefix, 0, 28)
FIELD(IP_ADDRESS_PREFIX, PrefixLength, 28, 1)

SIZE(MIB_UNICASTIPADDRESS_ROW, 80)
FIELD(MIB_UNICASTIPADDRESS_ROW, Address, 0, 28)
FIELD(MIB_UNICASTIPADDRESS_ROW, InterfaceLuid, 32, 8)
FIELD(MIB_UNICASTIPADDRESS_ROW, InterfaceIndex, 40, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, PrefixOrigin, 44, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, SuffixOrigin, 48, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, ValidLifetime, 52, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, PreferredLifetime, 56, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, OnLinkPrefixLength, 60, 1)
FIELD(MIB_UNICASTIPADDRESS_ROW, SkipAsSource, 61, 1)
FIELD(MIB_UNICASTIPADDRESS_ROW, DadState, 64, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, ScopeId, 68, 4)
FIELD(MIB_UNICASTIPADDRESS_ROW, CreationTimeStamp, 72, 8)

SIZE(MIB_IPINTERFACE_ROW, 168)
FIELD(MIB_IPINTERFACE_ROW, Family, 0, 2)
FIELD(MIB_IPINTERFACE_ROW, InterfaceLuid, 8, 8)
FIELD(MIB_IPINTERFACE_ROW, InterfaceIndex, 16, 4)
FIELD(MIB_IPINTERFACE_ROW, MaxReassemblySize, 20, 4)
FIELD(MIB_IPINTERFACE_ROW, InterfaceIdentifier, 24, 8)
FIELD(MIB_IPINTERFACE_ROW, MinRouterAdvertisementInterval, 32, 4)
FIELD(MIB_IPINTERFACE_ROW, MaxRouterAdvertisementInterval, 36, 4)
FIELD(MIB_IPINTERFACE_ROW, AdvertisingEnabled, 40, 1)
FIELD(MIB_IPINTERFACE_ROW, ForwardingEnabled, 41, 1)
FIELD(MIB_IPINTERFACE_ROW, WeakHostSend, 42, 1)
FIELD(MIB_IPINTERFACE_ROW, WeakHostReceive, 43, 1)
FIELD(MIB_IPINTERFACE_ROW, UseAutomaticMetric, 44, 1)
FIELD(MIB_IPINTERFACE_ROW, UseNeighborUnreachabilityDetection, 45, 1)
FIELD(MIB_IPINTERFACE_ROW, ManagedAddressConfigurationSupported, 46, 1)
FIELD(MIB_IPINTERFACE_ROW, OtherStatefulConfigurationSupported, 47, 1)
FIELD(MIB_IPINTERFACE_ROW, AdvertiseDefaultRoute, 48, 1)
FIELD(MIB_IPINTERFACE_ROW, RouterDiscoveryBehavior, 52, 4)
FIELD(MIB_IPINTERFACE_ROW, DadTransmits, 56, 4)
FIELD(MIB_IPINTERFACE_ROW, BaseReachableTime, 60, 4)
FIELD(MIB_IPINTERFACE_ROW, RetransmitTime, 64, 4)
FIELD(MIB_IPINTERFACE_ROW, PathMtuDiscoveryTimeout, 68, 4)
FIELD(MIB_IPINTERFACE_ROW, LinkLocalAddressBehavior, 72, 4)
FIELD(MIB_IPINTERFACE_ROW, LinkLocalAddressTimeout, 76, 4)
FIELD(MIB_IPINTERFACE_ROW, ZoneIndices, 80, 64)
FIELD(MIB_IPINTERFACE_ROW, SitePrefixLength, 144, 4)
FIELD(MIB_IPINTERFACE_ROW, Metric, 148, 4)
FIELD(MIB_IPINTERFACE_ROW, NlMtu, 152, 4)
FIELD(MIB_IPINTERFACE_ROW, Connected, 156, 1)
FIELD(MIB_IPINTERFACE_ROW, SupportsWakeUpPatterns, 157, 1)
FIELD(MIB_IPINTERFACE_ROW, SupportsNeighborDiscovery, 158, 1)
FIELD(MIB_IPINTERFACE_ROW, SupportsRouterDiscovery, 159, 1)
FIELD(MIB_IPINTERFACE_ROW, ReachableTime, 160, 4)
FIELD(MIB_IPINTERFACE_ROW, TransmitOffload, 164, 1)
FIELD(MIB_IPINTERFACE_ROW, ReceiveOffload, 165, 1)
FIELD(MIB_IPINTERFACE_ROW, DisableDefaultRoutes, 166, 1)

SIZE(MIB_IPFORWARD_ROW2, 104)
FIELD(MIB_IPFORWARD_ROW2, InterfaceLuid, 0, 8)
FIELD(MIB_IPFORWARD_ROW2, InterfaceIndex, 8, 4)
FIELD(MIB_IPFORWARD_ROW2, DestinationPrefix, 12, 32)
FIELD(MIB_IPFORWARD_ROW2, NextHop, 44, 28)
FIELD(MIB_IPFORWARD_ROW2, SitePrefixLength, 72, 1)
FIELD(MIB_IPFORWARD_ROW2, ValidLifetime, 76, 4)
FIELD(MIB_IPFORWARD_ROW2, PreferredLifetime, 80, 4)
FIELD(MIB_IPFORWARD_ROW2, Metric, 84, 4)
FIELD(MIB_IPFORWARD_ROW2, Protocol, 88, 4)
FIELD(MIB_IPFORWARD_ROW2, Loopback, 92, 1)
FIELD(MIB_IPFORWARD_ROW2, AutoconfigureAddress, 93, 1)
FIELD(MIB_IPFORWARD_ROW2, Publish, 94, 1)
FIELD(MIB_IPFORWARD_ROW2, Immortal, 95, 1)
FIELD(MIB_IPFORWARD_ROW2, Age, 96, 4)
FIELD(MIB_IPFORWARD_ROW2, Origin, 100, 4)

SIZE(MIB_IF_ROW2, 1352)
FIELD(MIB_IF_ROW2, InterfaceLuid, 0, 8)
FIELD(MIB_IF_ROW2, InterfaceIndex, 8, 4)
FIELD(MIB_IF_ROW2, InterfaceGuid, 12, 16)
FIELD(MIB_IF_ROW2, Alias, 28, 514)
FIELD(MIB_IF_ROW2, Description, 542, 514)
FIELD(MIB_IF_ROW2, PhysicalAddressLength, 1056, 4)
FIELD(MIB_IF_ROW2, PhysicalAddress, 1060, 32)
FIELD(MIB_IF_ROW2, PermanentPhysicalAddress, 1092, 32)
FIELD(MIB_IF_ROW2, Mtu, 1124, 4)
FIELD(MIB_IF_ROW2, Type, 1128, 4)
FIELD(MIB_IF_ROW2, TunnelType, 1132, 4)
FIELD(MIB_IF_ROW2, MediaType, 1136, 4)
FIELD(MIB_IF_ROW2, PhysicalMediumType, 1140, 4)
FIELD(MIB_IF_ROW2, AccessType, 1144, 4)
FIELD(MIB_IF_ROW2, DirectionType, 1148, 4)
FIELD(MIB_IF_ROW2, InterfaceAndOperStatusFlags, 1152, 1)
FIELD(MIB_IF_ROW2, OperStatus, 1156, 4)
FIELD(MIB_IF_ROW2, AdminStatus, 1160, 4)
FIELD(MIB_IF_ROW2, MediaConnectState, 1164, 4)
FIELD(MIB_IF_ROW2, NetworkGuid, 1168, 16)
FIELD(MIB_IF_ROW2, ConnectionType, 1184, 4)
FIELD(MIB_IF_ROW2, TransmitLinkSpeed, 1192, 8)
FIELD(MIB_IF_ROW2, ReceiveLinkSpeed, 1200, 8)
FIELD(MIB_IF_ROW2, InOctets, 1208, 8)
FIELD(MIB_IF_ROW2, InUcastPkts, 1216, 8)
FIELD(MIB_IF_ROW2, InNUcastPkts, 1224, 8)
FIELD(MIB_IF_ROW2, InDiscards, 1232, 8)
FIELD(MIB_IF_ROW2, InErrors, 1240, 8)
FIELD(MIB_IF_ROW2, InUnknownProtos, 1248, 8)
FIELD(MIB_IF_ROW2, InUcastOctets, 1256, 8)
FIELD(MIB_IF_ROW2, InMulticastOctets, 1264, 8)
FIELD(MIB_IF_ROW2, InBroadcastOctets, 1272, 8)
FIELD(MIB_IF_ROW2, OutOctets, 1280, 8)
FIELD(MIB_IF_ROW2, OutUcastPkts, 1288, 8)
FIELD(MIB_IF_ROW2, OutNUcastPkts, 1296, 8)
FIELD(MIB_IF_ROW2, OutDiscards, 1304, 8)
FIELD(MIB_IF_ROW2, OutErrors, 1312, 8)
FIELD(MIB_IF_ROW2, OutUcastOctets, 1320, 8)
FIELD(MIB_IF_ROW2, OutMulticastOctets, 1328, 8)
FIELD(MIB_IF_ROW2, OutBroadcastOctets, 1336, 8)
FIELD(MIB_IF_ROW2, OutQLen, 1344, 8)

SIZE(IP_ADAPTER_ADDRESSES, 448)
FIELD(IP_ADAPTER_ADDRESSES, IfIndex, 4, 4)
FIELD(IP_ADAPTER_ADDRESSES, Next, 8, 8)
FIELD(IP_ADAPTER_ADDRESSES, FirstUnicastAddress, 24, 8)
FIELD(IP_ADAPTER_ADDRESSES, FriendlyName, 72, 8)
FIELD(IP_ADAPTER_ADDRESSES, PhysicalAddress, 80, 8)
FIELD(IP_ADAPTER_ADDRESSES, PhysicalAddressLength, 88, 4)
FIELD(IP_ADAPTER_ADDRESSES, IfType, 100, 4)
FIELD(IP_ADAPTER_ADDRESSES, OperStatus, 104, 4)

SIZE(IP_ADAPTER_UNICAST_ADDRESS, 64)
FIELD(IP_ADAPTER_UNICAST_ADDRESS, Next, 8, 8)
FIELD(IP_ADAPTER_UNICAST_ADDRESS, Address.lpSockaddr, 16, 8)
FIELD(IP_ADAPTER_UNICAST_ADDRESS, OnLinkPrefixLength, 56, 1)

SIZE(MIB_IF_TABLE2, 1360)
FIELD(MIB_IF_TABLE2, NumEntries, 0, 4)
FIELD(MIB_IF_TABLE2, Table, 8, 1352)
SIZE(MIB_IPINTERFACE_TABLE, 176)
FIELD(MIB_IPINTERFACE_TABLE, NumEntries, 0, 4)
FIELD(MIB_IPINTERFACE_TABLE, Table, 8, 168)
SIZE(MIB_UNICASTIPADDRESS_TABLE, 88)
FIELD(MIB_UNICASTIPADDRESS_TABLE, NumEntries, 0, 4)
FIELD(MIB_UNICASTIPADDRESS_TABLE, Table, 8, 80)
SIZE(MIB_IPFORWARD_TABLE2, 112)
FIELD(MIB_IPFORWARD_TABLE2, NumEntries, 0, 4)
FIELD(MIB_IPFORWARD_TABLE2, Table, 8, 104)

NUMBER(AF_UNSPEC, 0)
NUMBER(AF_INET, 2)
NUMBER(AF_INET6, 23)
NUMBER(IpDadStatePreferred, 4)
NUMBER(MIB_IPPROTO_NETMGMT, 3)
NUMBER(NET_IF_ADMIN_STATUS_UP, 1)
NUMBER(IfOperStatusUp, 1)
NUMBER(IF_TYPE_ETHERNET_CSMACD, 6)
NUMBER(IF_TYPE_SOFTWARE_LOOPBACK, 24)
NUMBER(NdisMediumIP, 19)
NUMBER(IF_TYPE_PROP_VIRTUAL, 53)
NUMBER(NdisMedium802_3, 0)
NUMBER(ERROR_FILE_NOT_FOUND, 2)
NUMBER(ERROR_PATH_NOT_FOUND, 3)
NUMBER(ERROR_ACCESS_DENIED, 5)
NUMBER(ERROR_INVALID_HANDLE, 6)
NUMBER(ERROR_NOT_ENOUGH_MEMORY, 8)
NUMBER(ERROR_INVALID_DATA, 13)
NUMBER(ERROR_GEN_FAILURE, 31)
NUMBER(ERROR_HANDLE_EOF, 38)
NUMBER(ERROR_NOT_SUPPORTED, 50)
NUMBER(ERROR_INVALID_PARAMETER, 87)
NUMBER(ERROR_BUFFER_OVERFLOW, 111)
NUMBER(ERROR_SEM_TIMEOUT, 121)
NUMBER(ERROR_INSUFFICIENT_BUFFER, 122)
NUMBER(ERROR_ALREADY_EXISTS, 183)
NUMBER(ERROR_BAD_EXE_FORMAT, 193)
NUMBER(ERROR_MORE_DATA, 234)
NUMBER(ERROR_NO_MORE_ITEMS, 259)
NUMBER(ERROR_OPERATION_ABORTED, 995)
NUMBER(ERROR_IO_INCOMPLETE, 996)
NUMBER(ERROR_IO_PENDING, 997)
NUMBER(ERROR_POSSIBLE_DEADLOCK, 1131)
NUMBER(ERROR_DEVICE_NOT_CONNECTED, 1167)
NUMBER(ERROR_NOT_FOUND, 1168)
NUMBER(ERROR_ALREADY_INITIALIZED, 1247)
NUMBER(ERROR_DEVICE_REMOVED, 1617)
NUMBER(ERROR_INVALID_USER_BUFFER, 1784)
NUMBER(ERROR_OBJECT_ALREADY_EXISTS, 5010)

/* tests/device/windows/iphlpapifake.py describes the controls of a test, and has them under the same names. */
#define EXPORT __declspec (dllexport)

#define MOST 256
#define FOREVER 0xffffffff
#define SITE_PREFIX 64

typedef struct {
    MIB_IF_ROW2 link;
    ULONG mtus[2]; /* of IPv4 and IPv6; 0: it does not use the interface */
} Interface;

typedef struct {
    MIB_IPFORWARD_ROW2 row;
    BOOL isOwn;
} Route;

typedef struct {
    char function[64];
    ULONG value; /* an error number, or a position */
    ULONG length;
    UCHAR octets[32];
} Order;

typedef struct {
    BOOL isUsed;
    BOOL isOfInterfaces;
    PVOID callback;
    PVOID context;
    ULONG count;
    HANDLE threads[MOST];
    DWORD identifiers[MOST];
} Registration;

static CRITICAL_SECTION lock;
static Interface interfaces[MOST];
static MIB_UNICASTIPADDRESS_ROW addresses[MOST];
static Route routes[MOST];
static Order failures[MOST], pokes[MOST], absent[MOST];
static Registration registrations[MOST];
static ULONG interfaceCount, addressCount, routeCount, failureCount, pokeCount, absentCount;
static LONG tableCount;
static char asked[4096];
static BOOL isElevated = TRUE;

#define LOCK EnterCriticalSection (&lock)
#define UNLOCK LeaveCriticalSection (&lock)
#define REMOVE(array, count, at) \
    (memmove (&(array)[at], &(array)[(at) + 1], sizeof (array)[0] * ((count) - (at) - 1)), (count)--)

BOOL WINAPI DllMain (HINSTANCE instance, DWORD reason, LPVOID reserved)
{
    (void) instance, (void) reserved;
    if (reason == DLL_PROCESS_ATTACH)
        InitializeCriticalSection (&lock);
    return TRUE;
}

/* Common parts */

static DWORD failing (const char *function)
{
    for (ULONG i = failureCount; i--;)
        if (!strcmp (failures[i].function, function))
            return failures[i].value;
    return NO_ERROR;
}

static BOOL isAbsent (const char *function)
{
    for (ULONG i = 0; i < absentCount; i++)
        if (!strcmp (absent[i].function, function))
            return TRUE;
    return FALSE;
}

static DWORD ask (const char *function)
{
    DWORD code = failing (function);
    strcat (strcat (asked, function), " ");
    return code ? code : isElevated ? NO_ERROR : ERROR_ACCESS_DENIED;
}

static Interface *find (NET_IFINDEX index)
{
    for (ULONG i = 0; i < interfaceCount; i++)
        if (interfaces[i].link.InterfaceIndex == index)
            return &interfaces[i];
    return NULL;
}

static DWORD bound (NET_LUID luid, NET_IFINDEX index, ADDRESS_FAMILY family, Interface **found)
{
    *found = find (index);
    if (luid.Value || (family != AF_INET && family != AF_INET6))
        return ERROR_INVALID_PARAMETER;
    return *found && (*found)->mtus[family == AF_INET6] ? NO_ERROR : ERROR_NOT_FOUND;
}

static ULONG width (ADDRESS_FAMILY family)
{
    return family == AF_INET ? 32 : 128;
}

static UCHAR *octets (SOCKADDR_INET *address)
{
    return address->si_family == AF_INET ? (UCHAR *) &address->Ipv4.sin_addr : (UCHAR *) &address->Ipv6.sin6_addr;
}

static BOOL isSame (const SOCKADDR_INET *one, const SOCKADDR_INET *other)
{
    SOCKADDR_INET a = *one, b = *other;
    return a.si_family == b.si_family && !memcmp (octets (&a), octets (&b), width (a.si_family) / 8);
}

/* Whether the address has no bit after the prefix; clear these bits. */
static BOOL cut (SOCKADDR_INET *address, ULONG length)
{
    BOOL wasCut = FALSE;
    for (ULONG bit = length; bit < width (address->si_family); bit++) {
        UCHAR *octet = octets (address) + bit / 8, mask = 0x80 >> bit % 8;
        wasCut |= (*octet & mask) != 0;
        *octet &= (UCHAR) ~mask;
    }
    return !wasCut;
}

typedef struct {
    BOOL isOfInterfaces;
    PVOID callback, context;
} Call;

static DWORD WINAPI call (LPVOID argument)
{
    Call given = *(Call *) argument;
    free (argument);
    if (given.isOfInterfaces)
        ((PIPINTERFACE_CHANGE_CALLBACK) given.callback) (given.context, NULL, MibParameterNotification);
    else
        ((PUNICAST_IPADDRESS_CHANGE_CALLBACK) given.callback) (given.context, NULL, MibParameterNotification);
    return 0;
}

static void tell (BOOL isOfInterfaces)
{
    for (ULONG i = 0; i < MOST; i++) {
        Registration *each = &registrations[i];
        if (!each->isUsed || each->isOfInterfaces != isOfInterfaces || each->count == MOST)
            continue;
        Call *given = malloc (sizeof *given);
        *given = (Call) {isOfInterfaces, each->callback, each->context};
        HANDLE thread = CreateThread (NULL, 0, call, given, CREATE_SUSPENDED, &each->identifiers[each->count]);
        each->threads[each->count++] = thread;
        ResumeThread (thread);
    }
}

/* Wait for the calls of a registration. The lock is not held, because a call may wait for another function. */
static DWORD finish (Registration *registration)
{
    for (ULONG i = 0; i < registration->count; i++)
        if (registration->identifiers[i] == GetCurrentThreadId ())
            return ERROR_POSSIBLE_DEADLOCK;
    for (ULONG i = 0; i < registration->count; i++) {
        WaitForSingleObject (registration->threads[i], INFINITE);
        CloseHandle (registration->threads[i]);
    }
    registration->count = 0;
    return NO_ERROR;
}

/* Make a table of rows, change it as a test has asked, and hand it over. */
static DWORD give (const char *function, const void *rows, ULONG count, size_t size, PVOID *table)
{
    DWORD code = failing (function);
    if (code || isAbsent (function))
        return code;
    UCHAR *made = calloc (1, 8 + count * size + 64);
    memcpy (made, &count, sizeof count);
    memcpy (made + 8, rows, count * size);
    for (ULONG i = 0; i < pokeCount; i++)
        if (!strcmp (pokes[i].function, function))
            memcpy (made + pokes[i].value, pokes[i].octets, pokes[i].length);
    InterlockedIncrement (&tableCount);
    *table = made;
    return NO_ERROR;
}

/* Controls */

EXPORT void FakeReset (void)
{
    for (ULONG i = 0; i < MOST; i++)
        finish (&registrations[i]);
    memset (registrations, 0, sizeof registrations);
    interfaceCount = addressCount = routeCount = failureCount = pokeCount = absentCount = 0;
    tableCount = 0;
    asked[0] = 0;
    isElevated = TRUE;
}

EXPORT ULONG FakeAdd (const WCHAR *name, ULONG type, ULONG medium, const WCHAR *description, ULONG length, ULONG mtu,
                      BOOL has4, BOOL has6)
{
    LOCK;
    Interface *made = &interfaces[interfaceCount];
    MIB_IF_ROW2 *link = &made->link;
    memset (made, 0, sizeof *made);
    link->InterfaceIndex = 1;
    for (ULONG i = 0; i < interfaceCount; i++)
        if (interfaces[i].link.InterfaceIndex >= link->InterfaceIndex)
            link->InterfaceIndex = interfaces[i].link.InterfaceIndex + 1;
    memcpy (link->Alias, name, wcslen (name) * sizeof *name);
    memcpy (link->Description, description, wcslen (description) * sizeof *description);
    link->PhysicalAddressLength = length;
    if (length) {
        link->PhysicalAddress[0] = 2;
        link->PhysicalAddress[length - 1] = (UCHAR) link->InterfaceIndex;
    }
    link->Mtu = mtu;
    link->Type = type;
    link->MediaType = medium;
    link->OperStatus = IfOperStatusUp;
    link->AdminStatus = NET_IF_ADMIN_STATUS_UP;
    ULONG64 *counters = &link->InOctets;
    for (ULONG i = 0; i < 18; i++)
        counters[i] = 1000 + link->InterfaceIndex + i;
    made->mtus[0] = has4 ? mtu : 0;
    made->mtus[1] = has6 ? mtu : 0;
    interfaceCount++;
    tell (TRUE);
    UNLOCK;
    return link->InterfaceIndex;
}

EXPORT void FakeRemove (ULONG index)
{
    LOCK;
    for (ULONG i = interfaceCount; i--;)
        if (interfaces[i].link.InterfaceIndex == index)
            REMOVE (interfaces, interfaceCount, i);
    for (ULONG i = addressCount; i--;)
        if (addresses[i].InterfaceIndex == index)
            REMOVE (addresses, addressCount, i);
    for (ULONG i = routeCount; i--;)
        if (routes[i].row.InterfaceIndex == index)
            REMOVE (routes, routeCount, i);
    tell (TRUE);
    UNLOCK;
}

EXPORT void FakeBind (ULONG index, ULONG family)
{
    LOCK;
    find (index)->mtus[family == AF_INET6] = find (index)->link.Mtu;
    tell (TRUE);
    UNLOCK;
}

EXPORT void FakeRename (ULONG index, const WCHAR *name)
{
    LOCK;
    wcscpy (find (index)->link.Alias, name);
    UNLOCK;
}

EXPORT void FakeSetLink (ULONG index, BOOL isUp, BOOL isConnected)
{
    LOCK;
    find (index)->link.AdminStatus = isUp ? NET_IF_ADMIN_STATUS_UP : NET_IF_ADMIN_STATUS_DOWN;
    find (index)->link.OperStatus = isUp && isConnected ? IfOperStatusUp : IfOperStatusDown;
    tell (TRUE);
    UNLOCK;
}

EXPORT void FakeSetElevated (BOOL value)
{
    isElevated = value;
}

static void note (Order *orders, ULONG *count, const char *function, ULONG value, const void *data, ULONG length)
{
    LOCK;
    Order *made = &orders[(*count)++];
    strcpy (made->function, function);
    made->value = value;
    made->length = length;
    if (length)
        memcpy (made->octets, data, length);
    UNLOCK;
}

EXPORT void FakeFail (const char *function, ULONG code)
{
    note (failures, &failureCount, function, code, NULL, 0);
}

EXPORT void FakePoke (const char *function, ULONG position, const void *data, ULONG length)
{
    note (pokes, &pokeCount, function, position, data, length);
}

EXPORT void FakeWithhold (const char *function)
{
    note (absent, &absentCount, function, 0, NULL, 0);
}

EXPORT void FakeTell (void)
{
    LOCK;
    tell (TRUE);
    tell (FALSE);
    UNLOCK;
}

EXPORT void FakeSettle (void)
{
    for (ULONG i = 0; i < MOST; i++)
        finish (&registrations[i]);
}

EXPORT void FakeAsked (char *text)
{
    strcpy (text, asked);
    asked[0] = 0;
}

/* Write the text of an address, and return its end. */
static char *print (char *text, SOCKADDR_INET *address)
{
    InetNtopA (address->si_family, octets (address), text, 64);
    return text + strlen (text);
}

EXPORT void FakeAddresses (ULONG index, char *text)
{
    *text = 0;
    for (ULONG i = 0; i < addressCount; i++) {
        if (addresses[i].InterfaceIndex != index)
            continue;
        text = print (text, &addresses[i].Address);
        text += sprintf (text, "/%u\n", addresses[i].OnLinkPrefixLength);
    }
}

EXPORT void FakeRoutes (ULONG index, char *text)
{
    *text = 0;
    for (ULONG i = 0; i < routeCount; i++) {
        MIB_IPFORWARD_ROW2 *row = &routes[i].row;
        if (row->InterfaceIndex != index || !routes[i].isOwn)
            continue;
        text = print (text, &row->DestinationPrefix.Prefix);
        text += sprintf (text, "/%u via ", row->DestinationPrefix.PrefixLength);
        text = print (text, &row->NextHop);
        text += sprintf (text, " metric %lu\n", row->Metric);
    }
}

EXPORT ULONG FakeMtu (ULONG index, ULONG family)
{
    return find (index)->mtus[family == AF_INET6];
}

EXPORT ULONG FakeTables (void)
{
    return (ULONG) tableCount;
}

EXPORT ULONG FakeRegistered (void)
{
    ULONG count = 0;
    for (ULONG i = 0; i < MOST; i++)
        count += registrations[i].isUsed;
    return count;
}

/* The functions of the DLL */

EXPORT DWORD WINAPI GetIfTable2 (PMIB_IF_TABLE2 *table)
{
    static MIB_IF_ROW2 rows[MOST];
    LOCK;
    for (ULONG i = 0; i < interfaceCount; i++)
        rows[i] = interfaces[i].link;
    DWORD code = give ("GetIfTable2", rows, interfaceCount, sizeof *rows, (PVOID *) table);
    UNLOCK;
    return code;
}

static void fill (MIB_IPINTERFACE_ROW *row, const Interface *of, ADDRESS_FAMILY family)
{
    memset (row, 0, sizeof *row);
    row->Family = family;
    row->InterfaceIndex = of->link.InterfaceIndex;
    row->SitePrefixLength = SITE_PREFIX;
    row->DadTransmits = 3;
    row->Metric = 25;
    row->NlMtu = of->mtus[family == AF_INET6];
}

EXPORT DWORD WINAPI GetIpInterfaceTable (ADDRESS_FAMILY family, PMIB_IPINTERFACE_TABLE *table)
{
    static MIB_IPINTERFACE_ROW rows[2 * MOST];
    ULONG count = 0;
    if (family != AF_UNSPEC)
        return ERROR_INVALID_PARAMETER;
    LOCK;
    for (ULONG i = 0; i < interfaceCount; i++)
        for (ULONG six = 0; six < 2; six++)
            if (interfaces[i].mtus[six])
                fill (&rows[count++], &interfaces[i], six ? AF_INET6 : AF_INET);
    DWORD code = give ("GetIpInterfaceTable", rows, count, sizeof *rows, (PVOID *) table);
    UNLOCK;
    return code;
}

EXPORT DWORD WINAPI GetUnicastIpAddressTable (ADDRESS_FAMILY family, PMIB_UNICASTIPADDRESS_TABLE *table)
{
    if (family != AF_UNSPEC)
        return ERROR_INVALID_PARAMETER;
    LOCK;
    DWORD code = give ("GetUnicastIpAddressTable", addresses, addressCount, sizeof *addresses, (PVOID *) table);
    UNLOCK;
    return code;
}

EXPORT DWORD WINAPI GetIpForwardTable2 (ADDRESS_FAMILY family, PMIB_IPFORWARD_TABLE2 *table)
{
    static MIB_IPFORWARD_ROW2 rows[MOST];
    if (family != AF_UNSPEC)
        return ERROR_INVALID_PARAMETER;
    LOCK;
    for (ULONG i = 0; i < routeCount; i++)
        rows[i] = routes[i].row;
    DWORD code = give ("GetIpForwardTable2", rows, routeCount, sizeof *rows, (PVOID *) table);
    UNLOCK;
    return code;
}

EXPORT VOID WINAPI FreeMibTable (PVOID table)
{
    free (table);
    InterlockedDecrement (&tableCount);
}

EXPORT DWORD WINAPI GetIpInterfaceEntry (PMIB_IPINTERFACE_ROW row)
{
    Interface *found;
    LOCK;
    DWORD code = bound (row->InterfaceLuid, row->InterfaceIndex, row->Family, &found);
    if (!code) {
        code = failing ("GetIpInterfaceEntry");
        fill (row, found, row->Family);
    }
    UNLOCK;
    return code;
}

EXPORT DWORD WINAPI SetIpInterfaceEntry (PMIB_IPINTERFACE_ROW row)
{
    Interface *found;
    LOCK;
    DWORD code = ask ("SetIpInterfaceEntry");
    if (!code)
        code = bound (row->InterfaceLuid, row->InterfaceIndex, row->Family, &found);
    if (!code) {
        BOOL six = row->Family == AF_INET6, isKept = row->DadTransmits == 3 && row->Metric == 25;
        if (row->SitePrefixLength > width (row->Family) || !isKept || row->NlMtu < (six ? 1280 : 68)
            || row->NlMtu > found->link.Mtu)
            code = ERROR_INVALID_PARAMETER;
        else {
            found->mtus[six] = row->NlMtu;
            tell (TRUE);
        }
    }
    UNLOCK;
    return code;
}

EXPORT VOID WINAPI InitializeUnicastIpAddressEntry (PMIB_UNICASTIPADDRESS_ROW row)
{
    memset (row, 0, sizeof *row);
    row->ValidLifetime = row->PreferredLifetime = FOREVER;
    row->OnLinkPrefixLength = 255;
}

EXPORT DWORD WINAPI CreateUnicastIpAddressEntry (const MIB_UNICASTIPADDRESS_ROW *row)
{
    Interface *found;
    SOCKADDR_INET address = row->Address;
    LOCK;
    DWORD code = ask ("CreateUnicastIpAddressEntry");
    if (!code)
        code = bound (row->InterfaceLuid, row->InterfaceIndex, address.si_family, &found);
    if (!code
        && (row->OnLinkPrefixLength > width (address.si_family) || row->DadState != IpDadStatePreferred
            || row->ValidLifetime != FOREVER || row->PreferredLifetime != FOREVER))
        code = ERROR_INVALID_PARAMETER;
    for (ULONG i = 0; !code && i < addressCount; i++)
        if (isSame (&addresses[i].Address, &address))
            code = ERROR_OBJECT_ALREADY_EXISTS;
    if (!code) {
        addresses[addressCount++] = *row;
        Route *route = &routes[routeCount++];
        memset (route, 0, sizeof *route);
        cut (&address, row->OnLinkPrefixLength);
        route->row.InterfaceIndex = row->InterfaceIndex;
        route->row.DestinationPrefix.Prefix = address;
        route->row.DestinationPrefix.PrefixLength = row->OnLinkPrefixLength;
        route->row.NextHop.si_family = address.si_family;
        route->row.Metric = 256;
        tell (FALSE);
    }
    UNLOCK;
    return code;
}

static Route *same (NET_IFINDEX index, const SOCKADDR_INET *first, ULONG length, const SOCKADDR_INET *hop)
{
    for (ULONG i = 0; i < routeCount; i++) {
        MIB_IPFORWARD_ROW2 *row = &routes[i].row;
        if (row->InterfaceIndex == index && isSame (&row->DestinationPrefix.Prefix, first)
            && row->DestinationPrefix.PrefixLength == length && isSame (&row->NextHop, hop))
            return &routes[i];
    }
    return NULL;
}

EXPORT DWORD WINAPI DeleteUnicastIpAddressEntry (const MIB_UNICASTIPADDRESS_ROW *row)
{
    LOCK;
    DWORD code = ask ("DeleteUnicastIpAddressEntry");
    BOOL isFound = FALSE;
    for (ULONG i = addressCount; !code && !isFound && i--;) {
        if (addresses[i].InterfaceIndex != row->InterfaceIndex || !isSame (&addresses[i].Address, &row->Address))
            continue;
        SOCKADDR_INET address = row->Address, none = {.si_family = address.si_family};
        isFound = TRUE;
        cut (&address, addresses[i].OnLinkPrefixLength);
        Route *route = same (row->InterfaceIndex, &address, addresses[i].OnLinkPrefixLength, &none);
        if (route && !route->isOwn)
            REMOVE (routes, routeCount, (ULONG) (route - routes));
        REMOVE (addresses, addressCount, i);
        tell (FALSE);
    }
    UNLOCK;
    return code ? code : isFound ? NO_ERROR : ERROR_NOT_FOUND;
}

EXPORT VOID WINAPI InitializeIpForwardEntry (PMIB_IPFORWARD_ROW2 row)
{
    memset (row, 0, sizeof *row);
    row->ValidLifetime = row->PreferredLifetime = row->Metric = FOREVER;
    row->Immortal = TRUE;
}

EXPORT DWORD WINAPI CreateIpForwardEntry2 (const MIB_IPFORWARD_ROW2 *row)
{
    Interface *found;
    SOCKADDR_INET first = row->DestinationPrefix.Prefix;
    LOCK;
    DWORD code = ask ("CreateIpForwardEntry2");
    if (!code)
        code = bound (row->InterfaceLuid, row->InterfaceIndex, row->NextHop.si_family, &found);
    if (!code
        && (first.si_family != row->NextHop.si_family
            || row->DestinationPrefix.PrefixLength > width (first.si_family)
            || !cut (&first, row->DestinationPrefix.PrefixLength) || row->Protocol != (NL_ROUTE_PROTOCOL) MIB_IPPROTO_NETMGMT
            || row->ValidLifetime != FOREVER || row->PreferredLifetime != FOREVER))
        code = ERROR_INVALID_PARAMETER;
    if (!code && same (row->InterfaceIndex, &first, row->DestinationPrefix.PrefixLength, &row->NextHop))
        code = ERROR_OBJECT_ALREADY_EXISTS;
    if (!code)
        routes[routeCount++] = (Route) {*row, TRUE};
    UNLOCK;
    return code;
}

EXPORT DWORD WINAPI DeleteIpForwardEntry2 (const MIB_IPFORWARD_ROW2 *row)
{
    LOCK;
    DWORD code = ask ("DeleteIpForwardEntry2");
    if (!code) {
        const IP_ADDRESS_PREFIX *prefix = &row->DestinationPrefix;
        Route *route = same (row->InterfaceIndex, &prefix->Prefix, prefix->PrefixLength, &row->NextHop);
        if (route)
            REMOVE (routes, routeCount, (ULONG) (route - routes));
        else
            code = ERROR_NOT_FOUND;
    }
    UNLOCK;
    return code;
}

static DWORD record (const char *function, BOOL isOfInterfaces, ADDRESS_FAMILY family, PVOID callback, PVOID context,
                     BOOLEAN isInitial, HANDLE *handle)
{
    DWORD code = failing (function);
    if (code || isAbsent (function))
        return code;
    if (family != AF_UNSPEC || !callback || isInitial)
        return ERROR_INVALID_PARAMETER;
    LOCK;
    for (ULONG i = 0; i < MOST; i++) {
        if (registrations[i].isUsed)
            continue;
        registrations[i].isUsed = TRUE;
        registrations[i].isOfInterfaces = isOfInterfaces;
        registrations[i].callback = callback;
        registrations[i].context = context;
        *handle = &registrations[i];
        break;
    }
    UNLOCK;
    return NO_ERROR;
}

EXPORT DWORD WINAPI NotifyIpInterfaceChange (ADDRESS_FAMILY family, PIPINTERFACE_CHANGE_CALLBACK callback, PVOID context,
                                             BOOLEAN isInitial, HANDLE *handle)
{
    return record ("NotifyIpInterfaceChange", TRUE, family, (PVOID) callback, context, isInitial, handle);
}

EXPORT DWORD WINAPI NotifyUnicastIpAddressChange (ADDRESS_FAMILY family, PUNICAST_IPADDRESS_CHANGE_CALLBACK callback,
                                                  PVOID context, BOOLEAN isInitial, HANDLE *handle)
{
    return record ("NotifyUnicastIpAddressChange", FALSE, family, (PVOID) callback, context, isInitial, handle);
}

EXPORT DWORD WINAPI CancelMibChangeNotify2 (HANDLE handle)
{
    Registration *registration = handle;
    DWORD code = failing ("CancelMibChangeNotify2");
    if (code)
        return code;
    if (!registration || !registration->isUsed)
        return ERROR_INVALID_PARAMETER;
    code = finish (registration);
    registration->isUsed = code != NO_ERROR;
    return code;
}
