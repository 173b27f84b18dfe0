/*
 * listen.h - the node's directories and its control socket, made while it still has its privileges.
 * Start-up only, one thread.
 */
#ifndef ADVERB_NODE_LISTEN_H
#define ADVERB_NODE_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * Makes `path` and its missing parents; what it makes belongs to uid and gid with `mode`, and so does `path` itself when it
 * is ours already. 0 or -errno with `reason`.
 */
int adv_directory_make(const char *path, mode_t mode, uid_t uid, gid_t gid, char *reason,
		       size_t reason_size);

/*
 * Binds and listens on a Unix stream socket at `path` with `mode`. A socket that nobody serves any more is replaced; one that
 * answers is -EADDRINUSE. The descriptor or -errno with `reason`.
 */
int adv_listen_unix(const char *path, mode_t mode, uid_t uid, gid_t gid, char *reason,
		    size_t reason_size);

/*
 * "ADDRESS:PORT" or "[V6ADDRESS]:PORT" as an address, in numbers: names are not looked up. 0 or -EINVAL with `reason`.
 */
int adv_listen_parse(const char *text, struct sockaddr_storage *address, char *reason,
		     size_t reason_size);

/*
 * Listens on a TCP socket. An address beyond this machine is refused unless `insecure`: what comes there is not encrypted.
 * The descriptor or -errno with `reason`.
 */
int adv_listen_tcp(const struct sockaddr_storage *address, bool insecure, char *reason,
		   size_t reason_size);

#endif
