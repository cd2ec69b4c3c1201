/*
 * A fake of the driver tap0901.sys of tap-windows6: its adapters, its requests, and a network behind them that the tests
 * drive by requests to \\.\FakeTapNetwork. It makes no adapter of Windows. Wine's ntoskrnl loads it.
 */

#include <ntddk.h>

#define REQUEST(number) CTL_CODE(FILE_DEVICE_UNKNOWN, number, METHOD_BUFFERED, FILE_ANY_ACCESS)

/* The requests of tap-windows.h. */
enum {
    GET_MAC = REQUEST(1),
    GET_VERSION = REQUEST(2),
    GET_MTU = REQUEST(3),
    SET_MEDIA_STATUS = REQUEST(6),
    CONFIG_TUN = REQUEST(10),
};

/* The requests of the tests. Each begins with the number of an adapter. */
enum {
    RESET = REQUEST(0x900),
    DELIVER = REQUEST(0x901),
    TAKE = REQUEST(0x902),
    SET_LINK = REQUEST(0x903),
    REMOVE = REQUEST(0x904),
    ABORT = REQUEST(0x905),
    FAIL = REQUEST(0x906),
    STATE = REQUEST(0x907),
    SET_SLOW = REQUEST(0x908),
};

/* The calls that FAIL has fail. */
enum { FAIL_CREATE, FAIL_READ, FAIL_WRITE, FAIL_CONTROL, FAILURES };

enum { ADAPTERS = 4, QUEUE_LENGTH = 64, HEADER = 14, IP_HEADER = 20 };

struct packet {
    LIST_ENTRY entry;
    ULONG size;
    UCHAR data[];
};

struct adapter {
    FILE_OBJECT *file;
    BOOLEAN isUp, isRemoved, hasMedia, isTun;
    UCHAR tun[12];
    ULONG arriving;
    LIST_ENTRY packets, sent, reads, writes;
};

static struct adapter adapters[ADAPTERS];
static DEVICE_OBJECT *devices[ADAPTERS];
static NTSTATUS failures[FAILURES];
static BOOLEAN isSlow;

static NTSTATUS complete(IRP *irp, NTSTATUS status, ULONG octets)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = octets;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static void append(LIST_ENTRY *list, const void *data, ULONG size)
{
    struct packet *packet = ExAllocatePool(NonPagedPool, sizeof(*packet) + size);
    packet->size = size;
    RtlCopyMemory(packet->data, data, size);
    InsertTailList(list, &packet->entry);
}

static struct packet *first(LIST_ENTRY *list)
{
    return IsListEmpty(list) ? NULL : CONTAINING_RECORD(RemoveHeadList(list), struct packet, entry);
}

static void clear(LIST_ENTRY *list)
{
    struct packet *packet;
    while ((packet = first(list)))
        ExFreePool(packet);
}

/* Takes a request that waits out of its list. Another one may be cancelled at this time, and is skipped. */
static IRP *takeWaiting(LIST_ENTRY *list)
{
    IRP *irp = NULL;
    KIRQL level;
    IoAcquireCancelSpinLock(&level);
    while (!irp && !IsListEmpty(list)) {
        irp = CONTAINING_RECORD(RemoveHeadList(list), IRP, Tail.Overlay.ListEntry);
        if (!IoSetCancelRoutine(irp, NULL)) {
            InitializeListHead(&irp->Tail.Overlay.ListEntry);
            irp = NULL;
        }
    }
    IoReleaseCancelSpinLock(level);
    return irp;
}

static void NTAPI cancelled(DEVICE_OBJECT *device, IRP *irp)
{
    (void)device;
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    IoReleaseCancelSpinLock(irp->CancelIrql);
    complete(irp, STATUS_CANCELLED, 0);
}

static NTSTATUS wait(LIST_ENTRY *list, IRP *irp)
{
    KIRQL level;
    IoAcquireCancelSpinLock(&level);
    if (irp->Cancel) {
        IoReleaseCancelSpinLock(level);
        return complete(irp, STATUS_CANCELLED, 0);
    }
    IoMarkIrpPending(irp);
    InsertTailList(list, &irp->Tail.Overlay.ListEntry);
    IoSetCancelRoutine(irp, cancelled);
    IoReleaseCancelSpinLock(level);
    return STATUS_PENDING;
}

static void end(struct adapter *adapter, NTSTATUS status)
{
    IRP *irp;
    while ((irp = takeWaiting(&adapter->reads)))
        complete(irp, status, 0);
    while ((irp = takeWaiting(&adapter->writes)))
        complete(irp, status, 0);
    clear(&adapter->packets);
    adapter->arriving = 0;
}

static void serve(struct adapter *adapter)
{
    while (!IsListEmpty(&adapter->packets)) {
        IRP *irp = takeWaiting(&adapter->reads);
        struct packet *packet;
        ULONG most;
        if (!irp)
            return;
        packet = first(&adapter->packets);
        adapter->arriving--;
        most = IoGetCurrentIrpStackLocation(irp)->Parameters.Read.Length;
        RtlCopyMemory(irp->AssociatedIrp.SystemBuffer, packet->data, min(packet->size, most));
        complete(irp, packet->size > most ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS, min(packet->size, most));
        ExFreePool(packet);
    }
}

static struct adapter *adapterOf(DEVICE_OBJECT *device)
{
    for (int i = 0; i < ADAPTERS; i++)
        if (devices[i] == device)
            return &adapters[i];
    return NULL;
}

static NTSTATUS NTAPI create(DEVICE_OBJECT *device, IRP *irp)
{
    struct adapter *adapter = adapterOf(device);
    FILE_OBJECT *file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    if (!adapter)
        return complete(irp, STATUS_SUCCESS, 0);
    if (failures[FAIL_CREATE])
        return complete(irp, failures[FAIL_CREATE], 0);
    if (adapter->isRemoved)
        return complete(irp, STATUS_OBJECT_NAME_NOT_FOUND, 0);
    if (adapter->file)
        return complete(irp, STATUS_UNSUCCESSFUL, 0);
    adapter->file = file;
    adapter->hasMedia = adapter->isTun = FALSE;
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI closed(DEVICE_OBJECT *device, IRP *irp)
{
    struct adapter *adapter = adapterOf(device);
    if (adapter && adapter->file == IoGetCurrentIrpStackLocation(irp)->FileObject) {
        end(adapter, STATUS_CANCELLED);
        adapter->hasMedia = FALSE;
        adapter->file = NULL;
    }
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI readPacket(DEVICE_OBJECT *device, IRP *irp)
{
    struct adapter *adapter = adapterOf(device);
    NTSTATUS status;
    if (failures[FAIL_READ])
        return complete(irp, failures[FAIL_READ], 0);
    if (!adapter || !adapter->hasMedia)
        return complete(irp, STATUS_CANCELLED, 0);
    status = wait(&adapter->reads, irp);
    serve(adapter);
    return status;
}

static NTSTATUS NTAPI writePacket(DEVICE_OBJECT *device, IRP *irp)
{
    struct adapter *adapter = adapterOf(device);
    ULONG size = IoGetCurrentIrpStackLocation(irp)->Parameters.Write.Length;
    if (failures[FAIL_WRITE])
        return complete(irp, failures[FAIL_WRITE], 0);
    if (!adapter || !adapter->hasMedia)
        return complete(irp, STATUS_CANCELLED, 0);
    if (size < (adapter->isTun ? IP_HEADER : HEADER))
        return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    if (adapter->isUp)
        append(&adapter->sent, irp->AssociatedIrp.SystemBuffer, size);
    if (isSlow)
        return wait(&adapter->writes, irp);
    return complete(irp, STATUS_SUCCESS, size);
}

/* Whether the opening of this file was refused. Wine opens a file whatever IRP_MJ_CREATE returns. */
static NTSTATUS refusal(struct adapter *adapter, FILE_OBJECT *file)
{
    if (failures[FAIL_CREATE])
        return failures[FAIL_CREATE];
    return adapter->file == file ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}

/* A request of the program. */
static NTSTATUS request(struct adapter *adapter, IRP *irp, ULONG code, UCHAR *data, ULONG in, ULONG out)
{
    static const ULONG version[] = {9, 27, 0}, mtu = 1500;
    UCHAR mac[] = {0x00, 0xFF, 0x12, 0x34, 0x56, adapter - adapters};
    NTSTATUS refused = refusal(adapter, IoGetCurrentIrpStackLocation(irp)->FileObject);
    if (refused || failures[FAIL_CONTROL])
        return complete(irp, refused ? refused : failures[FAIL_CONTROL], 0);
    switch (code) {
    case GET_MAC:
        if (out < sizeof(mac))
            break;
        RtlCopyMemory(data, mac, sizeof(mac));
        return complete(irp, STATUS_SUCCESS, sizeof(mac));
    case GET_VERSION:
        if (out < sizeof(version))
            break;
        RtlCopyMemory(data, version, sizeof(version));
        return complete(irp, STATUS_SUCCESS, sizeof(version));
    case GET_MTU:
        if (out < sizeof(mtu))
            break;
        RtlCopyMemory(data, &mtu, sizeof(mtu));
        return complete(irp, STATUS_SUCCESS, sizeof(mtu));
    case SET_MEDIA_STATUS:
        if (in < sizeof(ULONG))
            break;
        adapter->hasMedia = *(ULONG *)data != 0;
        return complete(irp, STATUS_SUCCESS, sizeof(ULONG));
    case CONFIG_TUN:
        if (in < sizeof(adapter->tun))
            break;
        for (int i = 4; i < 8; i++)
            if (data[i] & ~data[i + 4])
                return complete(irp, STATUS_INVALID_PARAMETER, 0);
        RtlCopyMemory(adapter->tun, data, sizeof(adapter->tun));
        adapter->isTun = TRUE;
        return complete(irp, STATUS_SUCCESS, 1);
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    return complete(irp, STATUS_INVALID_PARAMETER, 0);
}

/* A request of the tests: the number of an adapter, a value, and octets. */
static NTSTATUS order(IRP *irp, ULONG code, UCHAR *data, ULONG in, ULONG out)
{
    ULONG number = ((ULONG *)data)[0], value = ((ULONG *)data)[1], octets = 0;
    struct adapter *adapter = &adapters[number];
    struct packet *packet;
    IRP *ended;
    if (in < 8 || number >= ADAPTERS)
        return complete(irp, STATUS_INVALID_PARAMETER, 0);
    switch (code) {
    case RESET:
        end(adapter, STATUS_CANCELLED);
        clear(&adapter->sent);
        adapter->isUp = TRUE;
        adapter->isRemoved = FALSE;
        RtlZeroMemory(failures, sizeof(failures));
        isSlow = FALSE;
        break;
    case DELIVER:
        if (!adapter->hasMedia || !adapter->isUp || adapter->arriving >= QUEUE_LENGTH)
            break;
        append(&adapter->packets, data + 8, in - 8);
        adapter->arriving++;
        serve(adapter);
        break;
    case TAKE:
        packet = first(&adapter->sent);
        if (!packet)
            return complete(irp, STATUS_NO_MORE_ENTRIES, 0);
        octets = min(packet->size, out);
        RtlCopyMemory(data, packet->data, octets);
        ExFreePool(packet);
        break;
    case SET_LINK:
        adapter->isUp = value != 0;
        break;
    case REMOVE:
        adapter->isRemoved = TRUE;
        adapter->hasMedia = FALSE;
        end(adapter, STATUS_CANCELLED);
        break;
    case ABORT:
        adapter->hasMedia = FALSE;
        end(adapter, value);
        break;
    case FAIL:
        if (number >= FAILURES)
            return complete(irp, STATUS_INVALID_PARAMETER, 0);
        failures[number] = value;
        break;
    case STATE:
        if (out < 3 + sizeof(adapter->tun))
            return complete(irp, STATUS_INVALID_PARAMETER, 0);
        octets = 3 + sizeof(adapter->tun);
        data[0] = adapter->file != NULL;
        data[1] = adapter->hasMedia;
        data[2] = adapter->isTun;
        RtlCopyMemory(data + 3, adapter->tun, sizeof(adapter->tun));
        break;
    case SET_SLOW:
        isSlow = value != 0;
        while (!isSlow && (ended = takeWaiting(&adapter->writes)))
            complete(ended, STATUS_SUCCESS, IoGetCurrentIrpStackLocation(ended)->Parameters.Write.Length);
        break;
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    return complete(irp, STATUS_SUCCESS, octets);
}

static NTSTATUS NTAPI control(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    struct adapter *adapter = adapterOf(device);
    ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    UCHAR *data = irp->AssociatedIrp.SystemBuffer;
    return adapter ? request(adapter, irp, code, data, in, out) : order(irp, code, data, in, out);
}

static DEVICE_OBJECT *newDevice(DRIVER_OBJECT *driver, const WCHAR *name, const WCHAR *link)
{
    UNICODE_STRING device, alias;
    DEVICE_OBJECT *made = NULL;
    RtlInitUnicodeString(&device, name);
    RtlInitUnicodeString(&alias, link);
    if (IoCreateDevice(driver, 0, &device, FILE_DEVICE_UNKNOWN, 0, FALSE, &made) != STATUS_SUCCESS)
        return NULL;
    IoCreateSymbolicLink(&alias, &device);
    made->Flags |= DO_BUFFERED_IO;
    made->Flags &= ~DO_DEVICE_INITIALIZING;
    return made;
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    WCHAR device[] = L"\\Device\\{12345678-1234-1234-1234-000000000000}.tap";
    WCHAR link[] = L"\\DosDevices\\Global\\{12345678-1234-1234-1234-000000000000}.tap";
    (void)path;
    for (int i = 0; i < ADAPTERS; i++) {
        struct adapter *adapter = &adapters[i];
        InitializeListHead(&adapter->packets);
        InitializeListHead(&adapter->sent);
        InitializeListHead(&adapter->reads);
        InitializeListHead(&adapter->writes);
        adapter->isUp = TRUE;
        /* The last digit of the identity. */
        device[sizeof(device) / sizeof(WCHAR) - 7] = link[sizeof(link) / sizeof(WCHAR) - 7] = L'0' + i;
        devices[i] = newDevice(driver, device, link);
    }
    newDevice(driver, L"\\Device\\FakeTapNetwork", L"\\DosDevices\\FakeTapNetwork");
    driver->MajorFunction[IRP_MJ_CREATE] = create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = closed;
    driver->MajorFunction[IRP_MJ_CLOSE] = closed;
    driver->MajorFunction[IRP_MJ_READ] = readPacket;
    driver->MajorFunction[IRP_MJ_WRITE] = writePacket;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    return STATUS_SUCCESS;
}
