/* remote_internal.h - what remote.c and remote_links.c share. Control thread only. */
#ifndef ADVERB_CONTROL_REMOTE_INTERNAL_H
#define ADVERB_CONTROL_REMOTE_INTERNAL_H

#include "control/remote.h"
#include "fabric/device.h"
#include "fabric/pair.h"
#include "poller/poller.h"
#include "util/jobs.h"

/* One process of one tenant, as it calls itself. Lives as long as its leases and links. */
struct adv_remote_client {
	struct adv_remote_client *next;
	uint32_t tenant;
	uint8_t id[ADV_CLIENT_ID_BYTES];
	struct ibv_pd *pd; /* made on the jobs' thread */
	unsigned refs;
	unsigned nr_links;
	uint32_t last_number; /* of its links */
	struct adv_job job;
	struct adv_remotes *owner;
};

enum adv_remote_link_state {
	ADV_RLINK_MAKING,  /* its queue pair is being made */
	ADV_RLINK_ADDING,  /* on its way to its poller */
	ADV_RLINK_TAKEN,   /* carries a lease, or waits for its client to confirm */
	ADV_RLINK_IDLE,	   /* connected, for the client's next lease */
	ADV_RLINK_LEAVING, /* being taken down */
};

/* One queue pair. */
struct adv_remote_link {
	struct adv_poller_link poll;
	struct adv_remotes *owner;
	struct adv_remote_link *next; /* of all */
	struct adv_remote_client *client;
	struct adv_remote *remote; /* that it carries, or is being made for */
	enum adv_remote_link_state state;
	struct adv_remote_poller *poller;
	struct rdma_cm_id *id;
	struct adv_pair pair;
	uint32_t number; /* the client's name for it, from 1 */
	uint8_t tag;	 /* which use */
	bool gone;	 /* the other end is not there any more, or it broke */
	bool spare;	 /* made ahead: not for the lease that vouches for it */
	bool pingpong;	 /* carries that, beside `lease`, and never a lease */
	uint64_t lease;	 /* that vouched for it */
	struct adv_pong pong;
	struct ibv_mr *pong_mr, *pong_out_mr; /* of its region: for the client, and to send from */
	bool destroyed;	      /* its queue pair is gone: it is freed when its messages are back */
	unsigned nr_messages; /* with the poller */
	bool line_again;      /* a change came while its message was under way */
	bool line_sent;
	struct adv_link_message {
		struct adv_poller_message message; /* first */
		void (*done)(struct adv_remote_link *link, bool clean);
	} add, attach, line, detach, give_up, remove;
	struct adv_poller_message broken;
	struct adv_job job;
	int rc;
	char reason[ADV_REASON_MAX];
};

struct adv_remote_poller {
	struct adv_poller *poller;
	struct adv_watch watch;
	unsigned nr_links;
};

struct adv_remotes {
	struct adv_remotes_options options;
	struct rdma_event_channel *events;
	struct rdma_cm_id *listener;
	struct adv_watch events_watch, async_watch, jobs_watch;
	struct adv_jobs *jobs;
	struct adv_remote_client *clients;
	unsigned nr_clients; /* whose protection domains are not given back */
	struct adv_remote_link *links;
	struct adv_remote *first;
	struct adv_remote_poller pollers[ADV_POLLERS_MAX];
	bool in_order; /* the device places RDMA WRITEs in order, or is taken to */
	char why[128]; /* that is so */
	uint32_t max_inline;
	bool dead;     /* the device was taken away */
	bool released; /* and nothing of it is held any more */
	char device[64];
	char address[ADV_DEVICE_TEXT], gid[ADV_DEVICE_TEXT]; /* that it listens on */
	struct adv_job job;
	uint64_t accepted, refused;
	uint64_t counted[ADV_LINK_COUNTERS]; /* by links that are no more */
};

enum adv_remote_state {
	ADV_REMOTE_REGISTERING,
	ADV_REMOTE_ATTACHING, /* to a link at rest */
	ADV_REMOTE_WAITING,   /* for the client to connect */
	ADV_REMOTE_RUNNING,
	ADV_REMOTE_DETACHING,
	ADV_REMOTE_RELEASING, /* its regions are being given back */
};

struct adv_remote {
	struct adv_remote_options options;
	struct adv_remotes *owner;
	struct adv_remote *next;
	struct adv_remote_client *client;
	enum adv_remote_state state;
	bool ending, end_gone, told_gone, gave_up;
	uint32_t counter; /* of the last connection tried */
	struct adv_remote_link *link;
	struct adv_timer timer; /* to connect; for the client's QUIET */
	struct adv_relay relay;
	struct adv_relay_lane *lanes;
	uint16_t *active;
	void *slots, *landing, *staging; /* the node's mappings */
	uint64_t staging_size;
	struct ibv_mr *req_mr, *slots_mr, *staging_mr, **input_mrs;
	struct adv_job job;
	int rc;
	char reason[ADV_REASON_MAX];
};

/* ---- remote_links.c ---- */

struct adv_remote_client *adv_remote_client_get(struct adv_remotes *remotes, uint32_t tenant,
						const uint8_t id[ADV_CLIENT_ID_BYTES]);
void adv_remote_client_put(struct adv_remote_client *client);

/* Once the device is gone, and whatever used it: lets go of it, so that the kernel can. After each end of something that used it. */
void adv_remote_release_device(struct adv_remotes *remotes);

/* A link at rest of that number, with that many receives; NULL: there is none. */
struct adv_remote_link *adv_remote_link_idle(struct adv_remote_client *client, uint32_t number,
					     uint32_t nr_receives);

/* Ends a link that its poller has forgotten; it frees itself. What is queued as a job after that finds the queue pair gone. */
void adv_remote_link_close(struct adv_remote_link *link);

/* It carries no lease any more, and may carry another. */
void adv_remote_link_rest(struct adv_remote_link *link);

/* Sends a message of the link's own. */
void adv_remote_link_send(struct adv_remote_link *link, struct adv_link_message *message,
			  enum adv_poller_order order, struct adv_relay *relay,
			  void (*done)(struct adv_remote_link *link, bool clean));

/* The other end is gone, or the link broke: whoever holds it ends it. Again is ignored. */
void adv_remote_link_gone(struct adv_remote_link *link, const char *reason);

int adv_remote_links_start(struct adv_remotes *remotes, char *reason, size_t reason_size);
void adv_remote_links_stop(struct adv_remotes *remotes);

/* ---- remote_pingpong.c ---- */

/* Why this lease may not have one; NULL: it may. */
const char *adv_remote_pingpong_refusal(const struct adv_remote *remote);

/* Its region: on the jobs' thread, with the queue pair and behind it. 0 or -errno with link->reason. */
int adv_remote_pingpong_make(struct adv_remote_link *link);
void adv_remote_pingpong_free(struct adv_remote_link *link);

/* Its lease is over. */
void adv_remote_pingpong_end(struct adv_remote *remote);

unsigned adv_remote_pingpongs(const struct adv_remotes *remotes);

/* ---- remote.c ---- */

/* When nothing else runs any more: gives back the regions of all. */
void adv_remote_release_all(struct adv_remotes *remotes);

/* Fills in the relay for a link: before the link, or the lease, is given to the poller. */
void adv_remote_relay_init(struct adv_remote *remote, struct adv_remote_link *link);

/* The link that was made for it carries it, or could not be made (link == NULL). */
void adv_remote_link_ready(struct adv_remote *remote);
void adv_remote_link_failed(struct adv_remote *remote, const char *reason);

/* The link that carries it does not work any more. */
void adv_remote_link_lost(struct adv_remote *remote, const char *reason);

/* Receives that a lease of this geometry may consume at the node; sends that it may have under way. */
uint32_t adv_remote_receives(const struct adv_geometry *geometry);
uint32_t adv_remote_sends(const struct adv_geometry *geometry);

#endif
