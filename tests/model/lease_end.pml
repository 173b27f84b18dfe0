/*
 * lease_end.pml - the end of a lease over verbs, and the next lease on its link: a client, the network, the poller, the jobs' thread, the
 * control thread. src/control/held.c (adv_held_end(), adv_held_finish(), held_over()), remote.c (adv_remote_end(), go_on_ending(), detach(),
 * quiet_overdue(), detached(), released(), registered(), take_link(), attached()), remote_links.c (knocked(), made(), added(),
 * adv_remote_link_gone(), adv_remote_link_rest(), adv_remote_link_close(), message_back(), free_if_done()); src/poller/poller.c (serve(),
 * is_drained(), end_detach(), obey()) and relay.c (adv_relay_hear()); src/client/lease.c (adv_lease_close()) and verbs_lease.c
 * (adv_verbs_lease_quiet(), give_link_back(), adv_verbs_lease_free()).
 *
 * Proves: no write comes into memory that was freed, in either direction, nor is anything sent from it; a write to a region that was given back
 * comes only from a client that breaks the rules, or over a link that the node has given up, and breaks nothing but that link; no
 * immediate of an earlier lease is acted on by a later one, and a link at rest has none on the way; no message is sent a second time before it has come
 * back, and the poller touches no link that was freed; and in the end, whoever died or broke when, queue pairs, regions and
 * memory of both sides are gone and nobody waits (that would be a deadlock: an invalid end state).
 *
 * What is on the way arrives even when its sender's queue pair is gone; what arrives where no queue pair is, or one in error, is lost
 * and not acknowledged. A lease's tag is its number. Times may pass at any moment. The client goes through one link; where the node does not
 * know it any more, it closes the lease instead of connecting another.
 *
 * Parts:
 *	PART_ONE     one lease, from its connection on; two things go wrong: the link breaks on one side, the client is killed, the node revokes
 *	PART_AGAIN   a second lease on the same link; one of these goes wrong
 *	PART_LATE    the same with a client that writes, or says that it is quiet, after it has said so for its first lease
 *	PART_ACCEPT  one lease whose workers have all died and are not replaced yet; the client is killed while it connects
 *
 * Mutants, each of which must be found guilty:
 *	MUTANT_NO_QUIET          DETACH does not wait for QUIET
 *	MUTANT_NO_DRAIN          DETACH does not wait for the completion of the poller's own writes
 *	MUTANT_GIVE_UP_CLEAN     GIVE_UP leaves the link to be used again
 *	MUTANT_NO_GIVE_UP        nobody gives up
 *	MUTANT_IDLE_STAYS        a link at rest whose other end has gone is kept
 *	MUTANT_FREE_FIRST        the lease's memory is freed when its link has been detached
 *	MUTANT_ENDED_EARLY       the client is told `ended` then
 *	MUTANT_DEREGISTER_FIRST  the regions are given back before the queue pair is destroyed
 *	MUTANT_FREE_LINK         a link is freed while its messages are under way
 *	MUTANT_REST_EARLY        the client keeps the link though it has not heard that the lease is over
 *	MUTANT_REST_BUSY         the client keeps the link though its own sends are not complete
 *	MUTANT_MIRROR_FIRST      the client frees the mirror before it gives the link back
 *	MUTANT_END_ATTACHING (PART_AGAIN)  adv_remote_end() does not wait for ATTACH to come back
 *	MUTANT_NO_TAG (PART_LATE)          adv_relay_hear() does not look at the tag
 *	MUTANT_DETACH_TWICE (PART_ACCEPT)  adv_remote_link_ready() does not leave a lease alone that is DETACHING already: rdma_accept() failed in
 *	                                   added(), link_gone() ended the lease on the spot as no worker was alive, and DETACH is on its way
 */
#if defined(PART_AGAIN) || defined(PART_LATE)
#define LEASES 2
#else
#define LEASES 1
#endif
#if !defined(FATE)
#if defined(PART_ONE)
#define FATE 2 /* so many things go wrong */
#else
#define FATE 1
#endif
#endif

#define NONE 0

/* What travels on the link, and raises an immediate: a write to a region, or the immediate alone. */
#define WRITE 1
#define QUIET 2

/* Messages to the poller, and back: enum adv_poller_order. */
#define ADD	1
#define ATTACH	2
#define LINE	3
#define DETACH	4
#define GIVE_UP 5
#define REMOVE	6
#define BROKEN	7 /* back alone */

/* Jobs. */
#define MAKE	1
#define DESTROY 2
#define RELEASE 3

/* enum adv_remote_link_state */
#define MAKING	1
#define ADDING	2
#define TAKEN	3
#define IDLE	4
#define LEAVING 5

/* enum adv_remote_state */
#define WAITING	  1
#define ATTACHING 2
#define RUNNING	  3
#define DETACHING 4
#define RELEASING 5

/* How a lease ends: ADV_CLOSED, ADV_REVOKED. */
#define CLOSED	1
#define REVOKED 2

/* ---- what there is: one link, which carries one lease after the other ---- */

chan to_node = [4] of { byte, byte }; /* kind, lease: its tag is the lease's number */
chan to_client = [4] of { byte, byte };
chan node_cq = [4] of { byte, byte };
bool n_qp, c_qp;	 /* each side's queue pair */
bool n_err, c_err;	 /* it sends and takes nothing any more */
byte n_out, c_out;	 /* sends that are not complete */
bool n_reg[3], n_mem[3]; /* a lease's memory in the node: registered, there */
bool c_reg[3], c_mem[3]; /* its mirror */

/* rdma_cm */
bool knock, disconnected;
byte accepted; /* 1; 2: refused */

/* The control connection of each lease: what was said and not heard yet. */
bool ask[3], offered;
byte grant[3]; /* 1: connect; 2: the link that was offered; 3: not granted */
bool said_release[3], hung_up[3];
byte ended[3];

/* The client. */
byte lease;	  /* the one that it has */
bool linked;	  /* it uses the link */
bool rest;	  /* it has it at rest */
bool said_quiet;  /* for the first lease */
bool dead;	  /* it was killed */
bool finished;	  /* it is no more */
bool late;	  /* it has broken the rules */
byte fate = FATE;

#define USABLE_N (n_qp && !n_err)
#define USABLE_C (c_qp && !c_err)

/* ---- the network; what is on the way arrives even when its sender is gone ---- */

inline at_node()
{
	if
	:: !USABLE_N
	:: USABLE_N && kind == WRITE && !n_reg[k] ->
		assert(late); /* nobody who keeps the rules writes where nothing is registered any more */
		n_err = true;
		c_err = true
	:: else ->
		assert(kind != WRITE || n_mem[k]);
		node_cq!kind, k;
		c_out = (c_qp -> c_out - 1 : 0)
	fi;
	kind = 0;
	k = 0
}

inline at_client()
{
	if
	:: !USABLE_C
	:: USABLE_C && !c_reg[k] ->
		assert(!n_qp); /* what a link that was given up has left on the way */
		c_err = true
	:: else ->
		assert(c_mem[k]);
		n_out = (n_qp -> n_out - 1 : 0)
	fi;
	kind = 0;
	k = 0
}

active proctype Network()
{
	byte kind, k;
end:	do
	:: d_step { to_node?kind, k -> at_node() }
	:: d_step { to_client?kind, k -> at_client() }
#if defined(PART_LATE)
	/* The client breaks the rules: it writes, or says that it is quiet, when it has said so before. */
	:: d_step { fate > 0 && said_quiet && USABLE_C -> fate--; late = true; to_node!WRITE, 1; c_out++ }
	:: d_step { fate > 0 && said_quiet && USABLE_C -> fate--; late = true; to_node!QUIET, 1; c_out++ }
#else
	/* The link breaks: one side notices, the other's sends are not acknowledged any more. The client is killed. */
	:: d_step { fate > 0 && USABLE_N -> fate--; n_err = true }
	:: d_step { fate > 0 && USABLE_C -> fate--; c_err = true }
	:: d_step { fate > 0 && !finished && lease > 0 -> fate--; dead = true }
#endif
	od
}

/* ---- src/poller/poller.c, src/poller/relay.c ---- */

chan box = [5] of { byte, byte };  /* order, lease */
chan back = [6] of { byte, bool }; /* order, clean */
byte relay;   /* the lease that the link carries */
bool quiet, ending, dirty; /* the relay's */
bool freed;   /* the control thread has freed the link */

/* adv_relay_hear() of everything */
inline hear()
{
	do
	:: len(node_cq) > 0 ->
		node_cq?kind, k;
		if
#if defined(MUTANT_NO_TAG)
		:: relay != NONE ->
#else
		:: relay != NONE && k == relay -> /* the tag */
#endif
			assert(k == relay); /* nothing of an earlier lease is acted on */
			if
			:: kind == QUIET -> quiet = true
			:: else
			fi
		:: else
		fi
	:: else -> break
	od
}

inline post_client()
{
	to_client!WRITE, relay;
	n_out++
}

/* end_detach(): a link that is not clean is forgotten */
inline end_detach(is_clean)
{
	detach = false;
	relay = NONE;
	held = is_clean;
	back!DETACH, is_clean
}

/* The last of it has been carried, and is_drained(); the client is quiet. */
#if defined(MUTANT_NO_DRAIN)
#define OVER (!dirty && quiet)
#elif defined(MUTANT_NO_QUIET)
#define OVER (!dirty && n_out == 0)
#else
#define OVER (!dirty && n_out == 0 && quiet)
#endif

/* serve() */
inline serve()
{
	assert(!freed);
	if
	:: !n_err ->
		hear();
		if
		:: relay != NONE && dirty -> post_client(); dirty = false
		:: else
		fi;
		if
		:: detach && OVER -> end_detach(true)
		:: else
		fi
	:: else ->
		if
		:: !said -> said = true; back!BROKEN, false
		:: else
		fi;
		if
		:: detach -> end_detach(false)
		:: else
		fi
	fi;
	kind = 0;
	k = 0
}

/* Is there anything for it to do? */
#define BUSY (held && (n_err -> !said || detach : len(node_cq) > 0 || relay != NONE && dirty || detach && OVER))

/* obey_all(), one at a time */
inline obey()
{
	assert(!freed);
	if
	:: kind == ADD || kind == ATTACH ->
		assert(len(node_cq) == 0 && len(to_node) == 0 || late);
		held = true;
		relay = k;
		quiet = false;
		ending = false;
		dirty = false;
		carried = false;
		back!kind, false
	:: kind == LINE -> dirty = dirty || relay != NONE; back!LINE, false
	:: kind == DETACH -> assert(relay != NONE); detach = true; ending = true
	:: kind == GIVE_UP ->
		if
#if defined(MUTANT_GIVE_UP_CLEAN)
		:: detach -> end_detach(true)
#else
		:: detach -> end_detach(false)
#endif
		:: else
		fi;
		back!GIVE_UP, false
	:: kind == REMOVE -> held = false; relay = NONE; back!REMOVE, false
	fi;
	kind = 0;
	k = 0
}

active proctype Poller()
{
	bool held, detach, said, carried;
	byte kind, k;
end:	do
	:: d_step { BUSY -> serve() }
	:: d_step { box?kind, k -> obey() }
	:: d_step { held && USABLE_N && relay != NONE && !ending && !carried -> /* a worker has published */
			post_client(); carried = true }
	od
}

/* ---- src/control/held.c, remote.c, remote_links.c: the control thread ---- */

/* adv_remote_link_send(): a message is the poller's until it has come back */
chan jobs = [3] of { byte, byte };

inline send(order_, lease_)
{
	assert(!(under & (1 << order_)));
	under = under | (1 << order_);
	box!order_, lease_
}

inline remove_idle()
{
	l_state = LEAVING;
	send(REMOVE, NONE)
}

inline close()
{
	l_lease = NONE;
	l_state = LEAVING;
	jobs!DESTROY, NONE
}

inline release(r)
{
	r_state[r] = RELEASING;
	jobs!RELEASE, r
}

inline quiet_overdue(r)
{
	if
#if defined(MUTANT_NO_GIVE_UP)
	:: !gave_up[r] -> gave_up[r] = true
#else
	:: !gave_up[r] -> gave_up[r] = true; send(GIVE_UP, NONE)
#endif
	:: else
	fi
}

/* go_on_ending(), detach() */
inline go_on_ending(r)
{
	if
	:: l_lease != r -> release(r)
	:: l_lease == r && l_state == TAKEN ->
		r_state[r] = DETACHING;
		send(DETACH, NONE);
		if
		:: client_gone[r] || l_gone -> quiet_overdue(r)
		:: else
		fi
	:: else
	fi
}

/* adv_held_finish(): no worker is left; adv_remote_line_changed(), adv_remote_end() */
inline finish(r)
{
	h_ending[r] = false;
	r_ending[r] = true;
	if
	:: l_lease == r && (l_state == TAKEN || l_state == ADDING) -> send(LINE, NONE)
	:: else
	fi;
	if
#if !defined(MUTANT_END_ATTACHING)
	:: r_state[r] == ATTACHING
#endif
	:: else -> go_on_ending(r)
	fi
}

/* adv_held_end() */
inline held_end(r, how)
{
	if
	:: status[r] == NONE ->
		status[r] = how;
#if defined(PART_ACCEPT)
		finish(r) /* they have died, and are not replaced yet */
#else
		h_ending[r] = true
#endif
	:: else
	fi
}

/* tell_gone(), remote_gone() */
inline tell_gone(r)
{
	if
	:: !r_ending[r] -> client_gone[r] = true; held_end(r, CLOSED)
	:: else
	fi
}

/* link_gone(), adv_remote_link_lost() */
inline link_gone()
{
	if
	:: l_gone || l_state == NONE
#if defined(MUTANT_IDLE_STAYS)
	:: !l_gone && l_state == IDLE -> l_gone = true
#else
	:: !l_gone && l_state == IDLE -> l_gone = true; remove_idle()
#endif
	:: else ->
		l_gone = true;
		if
		:: l_lease == NONE
		:: l_lease != NONE && r_state[l_lease] == DETACHING -> quiet_overdue(l_lease)
		:: else -> tell_gone(l_lease)
		fi
	fi
}

/* made(), not_made() */
inline made()
{
	k = l_lease;
	if
	:: l_gone || r_ending[k] ->
		accepted = 2;
		close();
		if
		:: r_ending[k] -> go_on_ending(k)
		:: else -> tell_gone(k)
		fi
	:: else -> l_state = ADDING; send(ADD, k)
	fi
}

/* added(), adv_remote_link_ready() */
inline added()
{
	k = l_lease;
	l_state = TAKEN;
	if
	:: l_gone
	:: !l_gone && !c_qp -> link_gone() /* rdma_accept() fails */
	:: else -> accepted = 1
	fi;
	if
#if !defined(MUTANT_DETACH_TWICE)
	:: r_state[k] == DETACHING
#endif
	:: else ->
		r_state[k] = RUNNING;
		if
		:: r_ending[k] -> go_on_ending(k)
		:: else
		fi
	fi
}

/* attached() */
inline attached()
{
	k = l_lease;
	r_state[k] = RUNNING;
	if
	:: r_ending[k] -> go_on_ending(k)
	:: else -> grant[k] = 2
	fi
}

/* detached(), adv_remote_link_rest() */
inline detached()
{
	k = l_lease;
	l_lease = NONE;
#if defined(MUTANT_FREE_FIRST)
	n_mem[k] = false;
#endif
#if defined(MUTANT_ENDED_EARLY)
	ended[k] = status[k];
#endif
#if defined(MUTANT_DEREGISTER_FIRST)
	release(k);
#endif
	if
	:: clean && !l_gone -> l_state = IDLE
	:: clean && l_gone -> remove_idle()
	:: else -> close()
	fi;
#if !defined(MUTANT_DEREGISTER_FIRST)
	release(k)
#endif
}

/* adv_held_open(), run_register(), registered(), adv_remote_link_idle(), take_link() */
inline open(r)
{
	ask[r] = false;
	n_mem[r] = true;
	n_reg[r] = true;
	if
	:: offered && l_state == IDLE && !l_gone ->
		r_state[r] = ATTACHING;
		l_lease = r;
		l_state = TAKEN;
		send(ATTACH, r)
	:: else -> r_state[r] = WAITING; grant[r] = 1
	fi
}

/* knocked(), examine(), make_link() */
inline knocked()
{
	knock = false;
	if
	:: r_state[1] == WAITING && !r_ending[1] -> l_state = MAKING; l_lease = 1; jobs!MAKE, NONE
	:: else -> accepted = 2
	fi
}

/* released(), remote_ended(), held_over() */
inline released(r)
{
	assert(!n_reg[r]);
	n_mem[r] = false;
	r_state[r] = NONE;
	ended[r] = status[r];
	if
	:: grant[r] == NONE -> grant[r] = 3
	:: else
	fi
}

/* free_if_done() */
inline free_if_done()
{
	if
#if defined(MUTANT_FREE_LINK)
	:: destroyed -> freed = true; l_state = NONE
#else
	:: destroyed && under == 0 -> freed = true; l_state = NONE
#endif
	:: else
	fi
}

/* message_back() */
inline message_back()
{
	if
	:: order == ADD -> added()
	:: order == ATTACH -> attached()
	:: order == DETACH -> detached()
	:: order == REMOVE -> close()
	:: order == BROKEN -> link_gone()
	:: else
	fi;
	under = under & ~(1 << order);
	free_if_done();
	order = 0;
	k = 0;
	clean = false
}

/* What the jobs' thread does, and what is done when that is reported: a job after the other. */
inline run_job()
{
	if
	:: order == MAKE -> n_qp = true; made()
	:: order == DESTROY -> n_qp = false; n_out = 0; destroyed = true; free_if_done()
	:: order == RELEASE ->
		assert(!USABLE_N || n_out == 0 || relay > k); /* nothing of it is being sent any more */
		n_reg[k] = false;
		released(k)
	fi;
	order = 0;
	k = 0
}

/* Control connections, timers, workers. */
inline happened(r)
{
	if
	:: said_release[r] -> said_release[r] = false; held_end(r, CLOSED)
	:: !said_release[r] && hung_up[r] && !ask[r] -> hung_up[r] = false; client_gone[r] = true; held_end(r, CLOSED)
	fi
}

active proctype Control()
{
	byte l_state, l_lease, under;
	bool l_gone, destroyed;
	byte r_state[3], status[3];
	bool r_ending[3], gave_up[3], h_ending[3], client_gone[3];
	bool clean, revoked;
	byte order, k;
	do
	:: d_step { ask[1] -> open(1) }
	:: d_step { said_release[1] || hung_up[1] && !ask[1] -> happened(1) }
	:: d_step { h_ending[1] -> finish(1) }
	:: d_step { r_state[1] == DETACHING && !gave_up[1] -> quiet_overdue(1) } /* its timer */
#if LEASES > 1
	:: d_step { ask[2] -> open(2) }
	:: d_step { said_release[2] || hung_up[2] && !ask[2] -> happened(2) }
	:: d_step { h_ending[2] -> finish(2) }
	:: d_step { r_state[2] == DETACHING && !gave_up[2] -> quiet_overdue(2) }
#endif
	:: d_step { knock -> knocked() }
	:: d_step { disconnected && !knock -> disconnected = false; link_gone() }
	:: d_step { back?order, clean -> message_back() }
	:: d_step { jobs?order, k -> run_job() }
	:: d_step { fate > 0 && !revoked && r_state[1] == RUNNING && status[1] == NONE ->
		fate--; revoked = true; held_end(1, REVOKED) }
	:: finished && r_state[1] == NONE && r_state[2] == NONE && !ask[1] && !ask[2] && l_state == NONE && !knock -> break
	od;
	/* Everything is given back. */
	assert(!n_qp && !c_qp);
	assert(!n_reg[1] && !n_reg[2] && !n_mem[1] && !n_mem[2]);
	assert(!c_reg[1] && !c_reg[2] && !c_mem[1] && !c_mem[2])
}

/* ---- src/client/lease.c, verbs_lease.c, verbs_node.c ---- */

inline post_node(kind_, about)
{
	if
	:: c_err
	:: else -> to_node!kind_, about; c_out++
	fi
}

/* adv_verbs_link_destroy() */
inline link_destroy()
{
	c_qp = false;
	c_out = 0;
	disconnected = true
}

/* adv_verbs_lease_prepare(), adv_verbs_lease_read(), adv_verbs_lease_attach() */
inline open_lease()
{
	d_step {
		c_mem[lease] = true;
		c_reg[lease] = true;
		linked = rest;
		offered = rest;
		rest = false;
		ask[lease] = true
	};
	if
	:: d_step { grant[lease] == 1 && !linked -> linked = true; c_qp = true; knock = true };
		d_step { accepted != NONE -> ok = (accepted == 1) }
	/* It would connect another one: that is the same as for the first lease. */
	:: d_step { grant[lease] == 1 && linked -> link_destroy(); linked = false; ok = false }
	:: grant[lease] == 2
	:: d_step { grant[lease] == 3 -> ok = false }
	fi
}

inline give_link_back()
{
	d_step {
		if
		:: linked ->
			if
#if defined(MUTANT_REST_EARLY)
			:: ok && c_out == 0 && !c_err -> rest = true
#elif defined(MUTANT_REST_BUSY)
			:: ok && ended[lease] == CLOSED && !c_err -> rest = true
#else
			:: ok && ended[lease] == CLOSED && c_out == 0 && !c_err ->
				assert(len(to_client) == 0 || !n_qp);
				rest = true
#endif
			:: else -> link_destroy()
			fi;
			linked = false
		:: else
		fi
	}
}

/* ibv_dereg_mr(), munmap(); the connection is closed */
inline free_mirror()
{
	d_step { assert(!USABLE_C || c_out == 0 || late); c_reg[lease] = false };
	d_step { c_mem[lease] = false; hung_up[lease] = true }
}

/* adv_lease_close() */
inline close_lease()
{
	if
	:: ok -> /* adv_verbs_lease_quiet() */
		d_step { post_node(QUIET, lease); said_quiet = true };
		if
		:: c_out == 0 || c_err
		:: skip /* 100 ms have passed */
		fi;
		/* adv_keeper_stop() */
		said_release[lease] = true;
		if
		:: ended[lease] != NONE
		:: !patient /* a second has passed */
		fi
	:: else
	fi;
#if defined(MUTANT_MIRROR_FIRST)
	free_mirror();
	give_link_back()
#else
	give_link_back();
	free_mirror()
#endif
}

active proctype Client()
{
	bool ok, patient, called;
	{
		if
		:: patient = true
		:: skip
		fi;
		do
		:: lease == 0 || lease < LEASES && rest ->
			d_step { lease++; ok = true; called = false };
			open_lease();
			do
			:: d_step { ok && !called -> called = true; post_node(WRITE, lease) }
			:: break
			od;
			close_lease()
		:: lease > 0 -> break
		od;
		atomic {
			if
			:: rest -> rest = false; link_destroy()
			:: else
			fi
		}
	} unless { dead };
	d_step {
		if
		:: c_qp -> link_destroy() /* the kernel does it */
		:: else
		fi;
		if
		:: dead && c_mem[lease] -> c_reg[lease] = false; c_mem[lease] = false; hung_up[lease] = true
		:: else
		fi;
		finished = true
	}
}
