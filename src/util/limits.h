/* limits.h - every bound of Adverb in one place; a number that limits anything lives here. */
#ifndef ADVERB_UTIL_LIMITS_H
#define ADVERB_UTIL_LIMITS_H

#include <stdint.h>

#define ADV_KIB (UINT64_C(1) << 10)
#define ADV_MIB (UINT64_C(1) << 20)
#define ADV_GIB (UINT64_C(1) << 30)
#define ADV_US	UINT64_C(1000)
#define ADV_MS	UINT64_C(1000000)
#define ADV_SEC UINT64_C(1000000000)

#define ADV_CACHE_LINE 64
#define ADV_PAGE       4096

/* Lanes. */
#define ADV_PROTOCOL_VERSION  1
#define ADV_LANE_UPGRADE      "adverb-lane/1" /* the protocol's name in HTTP's Upgrade */
#define ADV_ENTRY_SIZE	      64
#define ADV_INLINE_MAX	      32
#define ADV_SLOTS_MAX	      1024 /* a lane */
#define ADV_SLOTS_DEFAULT     4
#define ADV_CAPACITY_MAX      (64 * ADV_MIB) /* one input or output area of a slot */
#define ADV_CAPACITY_DEFAULT  (64 * ADV_KIB)
#define ADV_LANES_MAX	      256	     /* workers of one lease */
#define ADV_LANE_BYTES_MAX    (16 * ADV_GIB) /* all slots of one lease */
#define ADV_EPOCH_MAX	      65535
#define ADV_DEATH_RECORDS     4	   /* deaths a lane's node line remembers */
#define ADV_FUNCTIONS_MAX     1024 /* functions of one module */
#define ADV_BUDGET_US_DEFAULT (10 * 1000 * 1000)

/* Names and texts. */
#define ADV_ENDINGS \
	16 /* ways for a call not to end well, and 0 for none: lane/endings.h names them */
#define ADV_NAME_MAX	      64  /* module and function names, with the final NUL */
#define ADV_FUNCTION_NAME_MAX 256 /* C++ mangles long; with the final NUL */
#define ADV_DESCRIPTION_MAX   256
#define ADV_REASON_MAX	      512
#define ADV_TOKEN_BYTES	      16

/* Modules. */
#define ADV_MODULE_BYTES_MAX   (256 * ADV_MIB)
#define ADV_MODULES_MAX	       4096 /* a node */
#define ADV_MODULE_TENANTS_MAX 16   /* listed for one module; for more it is public */
#define ADV_DIGEST_BYTES       32
#define ADV_DEPLOY_LOAD_MS \
	5000 /* a scratch sandbox, or one of the pool, may take this long to load a module */

/* Leases. */
#define ADV_LEASES_MAX		   4096 /* a node */
#define ADV_LEASE_TTL_MS_MIN	   100
#define ADV_LEASE_TTL_MS_MAX	   (24ULL * 3600 * 1000)
#define ADV_LEASE_TTL_MS_DEFAULT   10000
#define ADV_LEASE_UNATTACHED_MS	   5000
#define ADV_LEASE_PRIORITY_MAX	   9
#define ADV_LEASE_PRIORITY_DEFAULT 4
#define ADV_LEASE_WAIT_MS_MAX	   (3600 * 1000)
#define ADV_LEASE_QUEUE_MAX	   1024		   /* requests that wait */
#define ADV_LEASE_QUEUE_TENANT_MAX 256		   /* of one tenant */
#define ADV_LEASE_MEMORY_DEFAULT   (256 * ADV_MIB) /* bytes for each worker */
#define ADV_LEASE_MEMORY_MIN	   (16 * ADV_MIB)
#define ADV_LEASE_MEMORY_MAX	   (1024 * ADV_GIB)
#define ADV_HOT_US_AUTO		   (UINT64_MAX - 2) /* instead of a window: learned */
#define ADV_HOT_PRICE_US	   1000 /* of a wake-up, as time spun, for windows that are learned */
#define ADV_HOT_US_DEFAULT	   1000 /* spin so long after the last call, then sleep */
#define ADV_STOP_GRACE_MS_DEFAULT  500
#define ADV_DRAIN_GRACE_MS_DEFAULT 5000
#define ADV_DRAIN_GRACE_MS_MAX	   (3600 * 1000)
#define ADV_STOP_LINGER_MS	   1000
#define ADV_TIMEOUT_KILL_US	   20000 /* a worker is killed so long after its call's budget */
#define ADV_STALLED_US \
	1000000 /* ... or, whatever it says, so long after that of the oldest call not completed */
#define ADV_SERVE_WITHIN_MS \
	20000 /* a worker that has not begun to serve by then is killed: its constructors do not end */
#define ADV_RESTART_FAILURES_MAX \
	8 /* replacements in a row that never served, then the lease ends */

/* Control plane. */
#define ADV_TENANTS_MAX		    256 /* that come by TCP */
#define ADV_PEER_TIMEOUT_MS_DEFAULT 3000
#define ADV_POLLERS_MAX		    64
#define ADV_VERBS_PORT_DEFAULT	    7340
#define ADV_PINGPONG_BYTES_MAX	    ADV_MIB /* a ping */
#define ADV_PINGPONG_DEPTH_MAX	    256	    /* pings in flight */
#define ADV_PINGPONG_SPIN_MS	    5	    /* a poller waits so long for the next one */
#define ADV_PINGPONGS_MAX	    16	    /* a node, one for each lease */
#define ADV_QUIET_MS		    100	    /* a client has so long to say that it writes no more */
#define ADV_CONNECTIONS_MAX	    4096
#define ADV_HTTP_HEADER_BYTES_MAX   16384
#define ADV_HTTP_BODY_BYTES_MAX \
	(64 * ADV_KIB) /* JSON bodies; module uploads have their own bound */
#define ADV_HTTP_IDLE_MS     30000
#define ADV_JSON_DEPTH_MAX   16
#define ADV_WATCHDOG_MS	     10
#define ADV_WATCHDOG_IDLE_MS 1000

/* The client library. */
#define ADV_CONNECT_MS		   5000
#define ADV_CONTROL_MS		   60000
#define ADV_CLIENT_REPLY_BYTES_MAX (64 * ADV_MIB) /* one answer of the control API */
#define ADV_CLIENT_PATH_MAX	   2048		  /* of a request, encoded */
#define ADV_CLIENT_LINE_MAX	   256		  /* of an attached connection, with the newline */
#define ADV_CLIENT_TOKEN_MAX	   256		  /* a tenant's token */
#define ADV_CLIENT_ERROR_BYTES	   512
#define ADV_CLIENT_CLOSE_MS	   1000 /* adv_lease_close() waits so long for the node's word */
#define ADV_CLIENT_EXPIRED_LINGER_MS \
	1000 /* an expired lease's calls end so long after it without the node's word */

/* Sandboxes. */
#define ADV_SANDBOXES_MAX  8192
#define ADV_LOG_LINE_BYTES 1024 /* of a function's line; the rest is a line of its own */
#define ADV_LOG_RING_BYTES (64 * 1024)
#define ADV_LOG_MODULES	   256 /* that have lines to be read */
#define ADV_LOG_ANSWER_MAX 256 /* lines in one answer */
#define ADV_LOG_WAIT_MAX_S 30

#define ADV_POOL_COLD_DEFAULT	 4
#define ADV_POOL_HOT_DEFAULT	 1 /* for each module used of late */
#define ADV_POOL_HOT_MODULES_MAX 8
#define ADV_POOL_MEMORY_DEFAULT	 (1024 * ADV_MIB)
#define ADV_POOL_PARALLEL	 4 /* builds and loads under way */
#define ADV_SANDBOX_NOFILE	 64
#define ADV_PROFILE_WHY_MAX	 96
#define ADV_SANDBOX_THREADS	 64 /* under the profile that has threads */
#define ADV_SANDBOX_STACK_BYTES	 (8 * ADV_MIB)

/* The range of uids that only sandboxes use, when the node runs as root: base, then base + 1 + index. */
#define ADV_UID_BASE UINT32_C(1879048192)

#endif
