/*
 * listen.h - the node's directories and its control socket, made while it still has its privileges.
 * Start-up only, one thread.
 */
#ifndef ADVERB_NODE_LISTEN_H
#define ADVERB_NODE_LISTEN_H

#include <stddef.h>
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

#endif
