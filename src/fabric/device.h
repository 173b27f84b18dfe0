/*
 * device.h - which RDMA devices there are, and what Adverb would use of them.
 *
 *	device.c         asks devices: any thread; opens them, may block for milliseconds
 *	device_choice.c  decides by what they said, and says it in words: pure functions, any thread
 */
#ifndef ADVERB_FABRIC_DEVICE_H
#define ADVERB_FABRIC_DEVICE_H

#include <infiniband/verbs.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADV_DEVICE_PORTS_MAX 8
#define ADV_DEVICE_GIDS_MAX  256
#define ADV_DEVICE_IPOIB_MAX 16
#define ADV_DEVICE_TEXT	     64 /* room for an address or a GID in words */

/* ---- what a device says ---- */

struct adv_device_gid {
	union ibv_gid gid;
	uint32_t index, port;
	uint32_t type; /* enum ibv_gid_type */
	char netdev[IF_NAMESIZE];
};

/* An address of a network interface on an InfiniBand port. */
struct adv_device_ipoib {
	uint32_t port;
	char netdev[IF_NAMESIZE];
	struct sockaddr_storage address;
};

/* Does it place RDMA WRITEs in order? */
enum adv_device_order {
	ADV_ORDER_UNKNOWN, /* the library cannot ask */
	ADV_ORDER_NO,
	ADV_ORDER_YES,
};

struct adv_device_facts {
	char name[IBV_SYSFS_NAME_MAX];
	enum ibv_transport_type transport;
	char trouble[160]; /* why it could not be opened, and nothing below is known; "" */
	struct ibv_device_attr attr;
	uint32_t max_inline;
	enum adv_device_order order;
	unsigned nr_ports;
	struct ibv_port_attr ports[ADV_DEVICE_PORTS_MAX]; /* number n at n - 1 */
	unsigned nr_gids;
	struct adv_device_gid gids[ADV_DEVICE_GIDS_MAX];
	unsigned nr_ipoib;
	struct adv_device_ipoib ipoib[ADV_DEVICE_IPOIB_MAX];
};

/* All devices: how many, at least 1; the caller frees *facts. -errno with `reason`: there is none, and what to load. */
int adv_devices_get(struct adv_device_facts **facts, char *reason, size_t reason_size);

/* The decision of adv_device_placement(), for an open device. */
bool adv_device_in_order(struct ibv_context *context, char *why, size_t why_size);

/*
 * "DEVICE[:PORT]", "ADDRESS[:PORT]" or "[V6ADDRESS]:PORT" to an address to listen on; without a port the default one. For a device it is
 * adv_device_choose()'s. 0 or -errno with `reason`: no device at all (what to load), no such device (which there are), why that one cannot be used.
 */
int adv_device_resolve(const char *spec, uint16_t default_port, struct sockaddr_storage *address,
		       char *reason, size_t reason_size);

/* The NUMA node of the device whose interface has that address, by its PCI slot; -1: not known, or there is one only. Any thread; reads sysfs. */
int adv_device_numa_node(const struct sockaddr_storage *address);

/* ---- what follows from that ---- */

/* "RoCE", "soft-RoCE", "InfiniBand", "iWARP", "unknown". */
const char *adv_device_kind(const struct adv_device_facts *facts);

/* NULL: Adverb can use devices of this transport. Else why not: the one answer for nodes, clients and lists of devices. */
const char *adv_device_refusal(enum ibv_transport_type transport);

/* The same for a device that somebody's address has led to: 0, or -EOPNOTSUPP with `reason`, which names it. */
int adv_device_check(const struct ibv_device *device, char *reason, size_t reason_size);

/* Is it software on an ordinary network card: soft-RoCE? */
bool adv_device_is_software(const struct ibv_device_attr *attr);

/*
 * May memory be polled for an RDMA WRITE: is it placed in order, its last byte last? By what the device says; soft-RoCE says no, and
 * does. `why` gets the reason in a few words.
 */
bool adv_device_placement(bool software, enum adv_device_order order, char *why, size_t why_size);

struct adv_device_choice {
	bool usable;
	char reason[256];		 /* why not, and what to do about it */
	struct sockaddr_storage address; /* that a node would listen on */
	uint32_t port;			 /* of the device */
	const struct adv_device_gid
		*gid; /* of the address; NULL: InfiniBand, by its IPoIB interface */
	bool in_order;
	char placement_why[128];
};

/*
 * Which of a device's addresses a node listens on (at `port`) when it is told the device's name: on an active port, for RoCE that of the first
 * RoCE v2 GID that has one, for InfiniBand the first of an IPoIB interface; IPv4 before IPv6.
 */
void adv_device_choose(const struct adv_device_facts *facts, uint16_t port,
		       struct adv_device_choice *choice);

/* Why it is not this GID that is used, in a few words; "" for the one that is. Static storage. */
const char *adv_device_gid_remark(const struct adv_device_facts *facts,
				  const struct adv_device_choice *choice,
				  const struct adv_device_gid *gid);

/* The address behind a GID at `port`; false: it has none that one can listen on. */
bool adv_device_gid_address(const union ibv_gid *gid, uint16_t port, struct sockaddr_storage *to);

/* "::ffff:10.0.0.1"; "10.0.0.1:7340", without the port when that is 0. Both return `text`. */
const char *adv_device_gid_text(const union ibv_gid *gid, char text[ADV_DEVICE_TEXT]);
const char *adv_device_address_text(const struct sockaddr_storage *address,
				    char text[ADV_DEVICE_TEXT]);

#endif
