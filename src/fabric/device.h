/*
 * device.h - which RDMA devices there are, and what Adverb would use of them. Any thread; opens devices, may block for milliseconds.
 */
#ifndef ADVERB_FABRIC_DEVICE_H
#define ADVERB_FABRIC_DEVICE_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Is it software on an ordinary network card: soft-RoCE? */
bool adv_device_is_software(struct ibv_context *context);

/*
 * Does it place an RDMA WRITE into memory in order, its last byte last, so that memory may be polled for it? By what the device says where
 * the library can ask; soft-RoCE says no, and does. `why` gets the reason in a few words.
 */
bool adv_device_in_order(struct ibv_context *context, char *why, size_t why_size);

/*
 * "DEVICE[:PORT]", "ADDRESS[:PORT]" or "[V6ADDRESS]:PORT" to an address to listen on; without a port the default one. A device's address is that
 * of its first RoCE v2 GID that has one, IPv4 before IPv6. 0 or -errno with `reason`: no device at all (what to load), no such
 * device (which there are), a device without address.
 */
int adv_device_resolve(const char *spec, uint16_t default_port, struct sockaddr_storage *address,
		       char *reason, size_t reason_size);

#endif
