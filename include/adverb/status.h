/* status.h - every status a caller of Adverb can see, and its text. */
#ifndef ADVERB_STATUS_H
#define ADVERB_STATUS_H

/* What libadverb exports. */
#define ADV_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The first group travels in a completion entry and is what became of one call. The second group is
 * what became of a lease or of a request to the node. The numbers are part of the wire format: a
 * number is never reused, and new ones are added at the end of their group.
 */
#define ADV_STATUS_LIST(X)                                                                   \
	X(ADV_OK, 0, "ok")                                                                   \
	X(ADV_FUNCTION_FAILED, 1, "the function reported an error")                          \
	X(ADV_CRASHED, 2, "the function crashed")                                            \
	X(ADV_EXITED, 3, "the function ended its process")                                   \
	X(ADV_DENIED, 4, "the function made a system call that the sandbox denies")          \
	X(ADV_OUT_OF_MEMORY, 5, "the function ran out of its memory")                        \
	X(ADV_TIMEOUT, 6, "the call ran past its deadline")                                  \
	X(ADV_BAD_SIZE, 7, "the function returned a size beyond the output's capacity")      \
	X(ADV_NO_FUNCTION, 8, "no such function in the module")                              \
	X(ADV_NOT_RUN, 9, "the worker was replaced before it ran this call: safe to repeat") \
	X(ADV_BAD_ENTRY, 10, "the request entry is not valid")                               \
	X(ADV_WORKER_LOST, 11, "the worker died and the reason is no longer known")          \
	X(ADV_LOAD_FAILED, 12, "the module could not be loaded in its sandbox")              \
	X(ADV_NO_NODE, 64, "no node answers at this address")                                \
	X(ADV_NODE_GONE, 65, "the node has gone away: the call may have run")                \
	X(ADV_NODE_RESTARTED, 66, "the node was restarted: its leases are gone")             \
	X(ADV_VERSION, 67, "the other side speaks another version of the protocol")          \
	X(ADV_NO_MODULE, 68, "no such module")                                               \
	X(ADV_TOO_LARGE, 69, "the payload is larger than the slot's capacity")               \
	X(ADV_BUSY, 70, "every slot of the lease is in use, or another's call has its core") \
	X(ADV_EXPIRED, 71, "the lease has expired")                                          \
	X(ADV_REVOKED, 72, "the node has revoked the lease")                                 \
	X(ADV_BAD_TOKEN, 73, "the lease's token is wrong")                                   \
	X(ADV_NO_LEASE, 74, "no such lease")                                                 \
	X(ADV_NO_CAPACITY, 75, "the node has not the cores, memory or sandboxes asked for")  \
	X(ADV_FORBIDDEN, 76, "this tenant may not do that")                                  \
	X(ADV_INVALID, 77, "an argument is not valid")                                       \
	X(ADV_BAD_MODULE, 78, "the file is not a module that this node can run")             \
	X(ADV_NO_MEMORY, 79, "this process is out of memory")                                \
	X(ADV_SYSTEM, 80, "the operating system refused an operation")                       \
	X(ADV_PROTOCOL, 81, "the other side broke the protocol")                             \
	X(ADV_STORAGE, 82, "the node could not write to its state directory")                \
	X(ADV_CLOSED, 83, "the lease is closed")                                             \
	X(ADV_LINK_LOST, 84, "the connection to the node broke: the call may have run")

enum adv_status {
#define ADV_STATUS_ENUM(name, number, text) name = number,
	ADV_STATUS_LIST(ADV_STATUS_ENUM)
#undef ADV_STATUS_ENUM
};

/* One sentence without a final stop, for every number (unknown ones too). Static storage. Any thread. */
ADV_API const char *adv_status_text(unsigned status);

/* The name in lower case without ADV_, as in JSON ("no_module"); "unknown" for an unknown number. */
ADV_API const char *adv_status_name(unsigned status);

/* The number for such a name, or -1. */
ADV_API int adv_status_from_name(const char *name);

#ifdef __cplusplus
}
#endif

#endif
