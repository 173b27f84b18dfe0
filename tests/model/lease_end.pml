#define NONE 0

/* What travels on a link, and raises an immediate: a write to a region, or an immediate alone. */
#define WRITE 1
#define QUIET 2

/* To the poller, and back: enum adv_poller_order. */
#define ADD	1
#define ATTACH	2
#define LINE	3
#define DETACH	4
#define GIVE_UP 5
#define REMOVE	6
#define BROKEN	7 /* back alone */

/* To the jobs' thread. */
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

/* ---- the connections: leases and links are numbered from 1 ---- */

chan to_node[3] = [5] of { byte, byte, byte }; /* kind, lease, tag */
chan to_client[3] = [5] of { byte, byte, byte };
chan node_cq[3] = [5] of { byte, byte, byte };
chan client_cq[3] = [5] of { byte, byte, byte };
bool n_qp[3], c_qp[3];	 /* there is one */
bool n_err[3], c_err[3]; /* in error: sends and takes nothing any more */
byte n_of[3], c_of[3];	 /* the link of a lease */
byte n_out[3], c_out[3]; /* a lease's sends that are not complete */

bool n_reg[3], n_mem[3]; /* a lease's memory in the node: registered, there */
bool c_reg[3], c_mem[3]; /* its mirror */

bool disconnected[3]; /* the node hears of a link's end by rdma_cm */
bool knock[3];	      /* a client wants that link */
byte knock_lease;
byte accepted[3];     /* 1, or 2: refused */

/* The control connection of each lease. */
bool ask[3];	 /* the client wants a lease */
byte offered;	 /* and has this link */
byte grant[3];	 /* 1, or 2: not granted */
byte g_link[3], g_tag[3];
bool said_release[3], hung_up[3];
byte ended[3];

/* The client. */
byte fate = 1; /* so many things go wrong */
byte link;     /* that the client uses */
byte rest;     /* that it has at rest */
byte lease;
byte my_tag;
bool said_quiet;

bool late;     /* a client has broken the rules */
bool finished; /* the client is no more */

#define USABLE_N(l) (n_qp[l] && !n_err[l])
#define USABLE_C(l) (c_qp[l] && !c_err[l])

/* ---- the network; what is on the way arrives even when its sender is gone ---- */

inline at_node()
{
	if
	:: !USABLE_N(l)
	:: USABLE_N(l) && kind == WRITE && !n_reg[k] ->
		assert(late); /* nobody who keeps the rules writes to what is not registered any more */
		n_err[l] = true;
		c_err[l] = true
	:: else ->
		assert(kind != WRITE || n_mem[k]);
		node_cq[l]!kind, k, tag;
		c_out[k] = (c_qp[l] -> c_out[k] - 1 : 0)
	fi;
	l = 1;
	kind = 0;
	k = 0;
	tag = 0
}

inline at_client()
{
	if
	:: !USABLE_C(l)
	:: USABLE_C(l) && !c_reg[k] ->
		assert(!n_qp[l]); /* it has been given up */
		c_err[l] = true;
		n_err[l] = true
	:: else ->
		assert(c_mem[k]);
		client_cq[l]!kind, k, tag;
		n_out[k] = (n_qp[l] -> n_out[k] - 1 : 0)
	fi;
	l = 1;
	kind = 0;
	k = 0;
	tag = 0
}

active proctype Network()
{
	byte l = 1, kind, k, tag;
end:	do
	:: d_step {
		to_node[1]?kind, k, tag -> l = 1; at_node()
	}
	:: d_step {
		to_node[2]?kind, k, tag -> l = 2; at_node()
	}
	:: d_step {
		to_client[1]?kind, k, tag -> l = 1; at_client()
	}
	:: d_step {
		to_client[2]?kind, k, tag -> l = 2; at_client()
	}
	od
}

/* ---- src/poller/poller.c ---- */

chan box = [8] of { byte, byte, byte };	 /* order, link, lease */
chan back = [10] of { byte, byte, bool }; /* order, link, clean */
byte tag_of[3];		    /* of a link: which use */
bool l_free[3];		    /* the control thread has freed it */
byte relay[3];		    /* of a link: the lease that it carries */
bool quiet[3], ending[3], dirty[3]; /* of a lease's relay */

#define IDLE_N(l) ((n_of[1] != l || n_out[1] == 0) && (n_of[2] != l || n_out[2] == 0))

/* adv_relay_hear() of everything */
inline hear()
{
	do
	:: len(node_cq[l]) > 0 ->
		node_cq[l]?kind, k, tag;
		if
		:: relay[l] != NONE && tag == tag_of[l] ->
			assert(k == relay[l]); /* none of an earlier lease */
			if
			:: kind == QUIET -> quiet[relay[l]] = true
			:: else
			fi
		:: else
		fi
	:: else -> break
	od
}

inline post_client()
{
	to_client[l]!WRITE, relay[l], tag_of[l];
	n_out[relay[l]]++
}

/* end_detach(): an unclean link is forgotten */
inline end_detach(clean)
{
	detach[l] = false;
	relay[l] = NONE;
	held[l] = clean;
	back!DETACH, l, clean
}

/* serve() */
inline serve()
{
	assert(!l_free[l]);
	if
	:: !n_err[l] ->
		hear();
		if
		:: relay[l] != NONE && dirty[relay[l]] -> post_client(); dirty[relay[l]] = false
		:: else
		fi;
		if
		:: detach[l] && IDLE_N(l) && quiet[relay[l]] -> end_detach(true)
		:: else
		fi
	:: else ->
		if
		:: !said[l] -> said[l] = true; back!BROKEN, l, false
		:: else
		fi;
		if
		:: detach[l] -> end_detach(false)
		:: else
		fi
	fi;
	kind = 0;
	k = 0;
	tag = 0
}

/* Is there anything for it to do? */
#define BUSY(l) (held[l] && (n_err[l] -> !said[l] || detach[l] : len(node_cq[l]) > 0 || \
	(relay[l] != NONE && dirty[relay[l]]) || (detach[l] && IDLE_N(l) && quiet[relay[l]])))

/* obey_all(), one at a time */
inline obey()
{
	assert(!l_free[l]);
	if
	:: kind == ADD || kind == ATTACH -> held[l] = true; relay[l] = k; back!kind, l, false
	:: kind == LINE ->
		if
		:: relay[l] != NONE -> dirty[relay[l]] = true
		:: else
		fi;
		back!LINE, l, false
	:: kind == DETACH -> detach[l] = true; ending[relay[l]] = true
	:: kind == GIVE_UP ->
		if
		:: detach[l] -> end_detach(false)
		:: else
		fi;
		back!GIVE_UP, l, false
	:: kind == REMOVE -> held[l] = false; relay[l] = NONE; back!REMOVE, l, false
	fi;
	kind = 0;
	k = 0
}

/* A worker has published: adv_relay_carry() */
#define CARRIES(l) (held[l] && USABLE_N(l) && relay[l] != NONE && !ending[relay[l]] && !carried[relay[l]])

active proctype Poller()
{
	bool held[3], detach[3], said[3]; /* of links */
	bool carried[3];
	byte l, kind, k, tag;
end:	do
	:: d_step { BUSY(1) -> l = 1; serve(); l = 0 }
	:: d_step { BUSY(2) -> l = 2; serve(); l = 0 }
	:: d_step { box?kind, l, k -> obey(); l = 0 }
	:: d_step { CARRIES(1) -> l = 1; post_client(); carried[relay[1]] = true; l = 0 }
	:: d_step { CARRIES(2) -> l = 2; post_client(); carried[relay[2]] = true; l = 0 }
	od
}

/* ---- src/util/jobs.c with remote.c's and remote_links.c's run_...() ---- */

chan jobs = [4] of { byte, byte };
chan jobs_back = [4] of { byte, byte };

active proctype Jobs()
{
	byte what, i;
end:	do
	:: d_step {
		jobs?what, i ->
			if
			:: what == MAKE -> n_qp[i] = true
			:: what == DESTROY ->
				n_qp[i] = false;
				if
				:: n_of[1] == i -> n_out[1] = 0
				:: else
				fi;
				if
				:: n_of[2] == i -> n_out[2] = 0
				:: else
				fi
			:: what == RELEASE ->
				/* Nothing is read from it any more. */
				assert(n_out[i] == 0 || !USABLE_N(n_of[i]));
				n_reg[i] = false
			fi;
			jobs_back!what, i;
			what = 0;
			i = 0
	}
	od
}

/* ---- src/control/held.c, remote.c, remote_links.c: the control thread ---- */

/* adv_remote_link_send(): a message is the poller's until it has come back */
inline send(order, link, lease)
{
	assert(!(under[link] & (1 << order)));
	under[link] = under[link] | (1 << order);
	box!order, link, lease
}

/* adv_remote_line_changed() */
inline line_changed(link)
{
	if
	:: link == NONE
	:: link != NONE && l_state[link] != TAKEN && l_state[link] != ADDING
	:: else ->
		if
		:: under[link] & (1 << LINE) -> line_again[link] = true
		:: else -> send(LINE, link, NONE)
		fi
	fi
}

inline remove_idle(link)
{
	l_state[link] = LEAVING;
	send(REMOVE, link, NONE)
}

inline close(link)
{
	l_lease[link] = NONE;
	l_state[link] = LEAVING;
	jobs!DESTROY, link
}

inline release(lease)
{
	r_state[lease] = RELEASING;
	jobs!RELEASE, lease
}

inline quiet_overdue(lease)
{
	if
	:: !gave_up[lease] -> gave_up[lease] = true; send(GIVE_UP, r_link[lease], NONE)
	:: else
	fi
}

inline detach_lease(lease)
{
	r_state[lease] = DETACHING;
	send(DETACH, r_link[lease], NONE);
	if
	:: client_gone[lease] || l_gone[r_link[lease]] -> quiet_overdue(lease)
	:: else
	fi
}

inline go_on_ending(lease)
{
	if
	:: r_link[lease] == NONE -> release(lease)
	:: r_link[lease] != NONE && l_state[r_link[lease]] == TAKEN -> detach_lease(lease)
	:: else
	fi
}

/* adv_held_finish(): no worker is left; adv_remote_end() */
inline finish(lease)
{
	h_ending[lease] = false;
	line_changed(r_link[lease]);
	r_ending[lease] = true;
	if
	:: r_state[lease] == ATTACHING
	:: else -> go_on_ending(lease)
	fi
}

/* adv_held_end() */
inline held_end(lease, how)
{
	if
	:: status[lease] == NONE ->
		status[lease] = how;
		if
		:: workers_live -> h_ending[lease] = true
		:: else -> finish(lease)
		fi
	:: else
	fi
}

/* tell_gone(), remote_gone() */
inline tell_gone(lease)
{
	if
	:: !told_gone[lease] && !r_ending[lease] ->
		told_gone[lease] = true;
		client_gone[lease] = true;
		held_end(lease, CLOSED)
	:: else
	fi
}

/* link_gone(), adv_remote_link_lost() */
inline link_gone(link)
{
	if
	:: l_gone[link]
	:: !l_gone[link] && l_state[link] == IDLE -> l_gone[link] = true; remove_idle(link)
	:: !l_gone[link] && l_state[link] != IDLE && l_lease[link] == NONE -> l_gone[link] = true
	:: else ->
		l_gone[link] = true;
		if
		:: r_state[l_lease[link]] == DETACHING -> quiet_overdue(l_lease[link])
		:: else -> tell_gone(l_lease[link])
		fi
	fi
}

/* adv_remote_link_ready() */
inline link_ready(lease)
{
	if
#if defined(FIX_DETACH_ONCE)
	:: r_state[lease] == DETACHING
#endif
	:: else ->
		r_state[lease] = RUNNING;
		if
		:: r_ending[lease] -> go_on_ending(lease)
		:: else
		fi
	fi
}

/* made(), not_made() */
inline made()
{
	k = l_lease[l];
	if
	:: l_gone[l] || r_ending[k] ->
		accepted[l] = 2;
		close(l);
		r_link[k] = NONE;
		if
		:: r_ending[k] -> go_on_ending(k)
		:: else -> tell_gone(k)
		fi
	:: else ->
		l_state[l] = ADDING;
		tag_of[l]++;
		n_of[k] = l;
		send(ADD, l, k)
	fi;
	k = 0
}

/* added() */
inline added()
{
	k = l_lease[l];
	l_state[l] = TAKEN;
	if
	:: l_gone[l] || !c_qp[l] -> link_gone(l) /* rdma_accept() fails */
	:: else -> accepted[l] = 1
	fi;
	link_ready(k);
	k = 0
}

/* attached() */
inline attached()
{
	k = l_lease[l];
	r_state[k] = RUNNING;
	if
	:: r_ending[k] -> go_on_ending(k)
	:: else -> g_link[k] = l; g_tag[k] = tag_of[l]; grant[k] = 1
	fi;
	k = 0
}

/* detached(), adv_remote_link_rest() */
inline detached()
{
	k = l_lease[l];
	l_lease[l] = NONE;
	r_link[k] = NONE;
	if
	:: clean && !l_gone[l] -> l_state[l] = IDLE
	:: clean && l_gone[l] -> remove_idle(l)
	:: else -> close(l)
	fi;
	release(k);
	k = 0
}

/* adv_held_open(), run_register(), registered(), adv_remote_link_idle(), take_link() */
inline open(lease)
{
	ask[lease] = false;
	n_mem[lease] = true;
	n_reg[lease] = true;
	if
	:: offered != NONE && l_state[offered] == IDLE && !l_gone[offered] ->
		r_state[lease] = ATTACHING;
		r_link[lease] = offered;
		l_lease[offered] = lease;
		l_state[offered] = TAKEN;
		tag_of[offered]++;
		n_of[lease] = offered;
		send(ATTACH, offered, lease)
	:: else -> r_state[lease] = WAITING; g_tag[lease] = 1; grant[lease] = 1
	fi;
	offered = NONE
}

/* knocked(), examine(), make_link() */
inline knocked(link)
{
	knock[link] = false;
	if
	:: r_state[knock_lease] == WAITING && !r_ending[knock_lease] && r_link[knock_lease] == NONE ->
		l_state[link] = MAKING;
		l_lease[link] = knock_lease;
		r_link[knock_lease] = link;
		jobs!MAKE, link
	:: else -> accepted[link] = 2
	fi;
	knock_lease = NONE
}

/* released(), remote_ended(), held_over() */
inline released(lease)
{
	assert(!n_reg[lease]);
	n_mem[lease] = false;
	r_state[lease] = NONE;
	r_ending[lease] = false;
	if
	:: grant[lease] == NONE -> grant[lease] = 2
	:: else -> ended[lease] = status[lease]
	fi
}

/* free_if_done() */
inline free_if_done()
{
	if
	:: destroyed[l] && under[l] == 0 -> l_free[l] = true; l_state[l] = NONE
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
	:: order == REMOVE -> close(l)
	:: order == BROKEN -> link_gone(l)
	:: else
	fi;
	under[l] = under[l] & ~(1 << order);
	if
	:: order == LINE && line_again[l] ->
		line_again[l] = false;
		if
		:: l_lease[l] != NONE && l_state[l] == TAKEN -> send(LINE, l, NONE)
		:: else
		fi
	:: else
	fi;
	free_if_done();
	order = 0;
	l = 0;
	clean = false
}

#define OVER(lease) (r_state[lease] == NONE && !ask[lease])
#define GONE(link)  (!knock[link] && (l_state[link] == NONE))

active proctype Control()
{
	byte l_state[3], l_lease[3], under[3];
	bool l_gone[3], destroyed[3], line_again[3];
	byte r_state[3], r_link[3], status[3];
	bool r_ending[3], gave_up[3], told_gone[3], h_ending[3], client_gone[3];
	bool workers_live, clean, revoked;
	byte order, l, k;
	if
	:: workers_live = true
	:: skip /* they die before, each time, and are not replaced yet */
	fi;
	do
	:: d_step { ask[1] -> open(1) }
	:: d_step { ask[2] -> open(2) }
	:: d_step { knock[1] -> knocked(1) }
	:: d_step { knock[2] -> knocked(2) }
	:: d_step { disconnected[1] && GONE(1) -> disconnected[1] = false }
	:: d_step { disconnected[2] && GONE(2) -> disconnected[2] = false }
	:: d_step { disconnected[1] && !GONE(1) -> disconnected[1] = false; l = 1; link_gone(l); l = 0 }
	:: d_step { disconnected[2] && !GONE(2) -> disconnected[2] = false; l = 2; link_gone(l); l = 0 }
	:: d_step { said_release[1] -> said_release[1] = false; k = 1; held_end(k, CLOSED); k = 0 }
	:: d_step { said_release[2] -> said_release[2] = false; k = 2; held_end(k, CLOSED); k = 0 }
	:: d_step { hung_up[1] && !ask[1] -> hung_up[1] = false; client_gone[1] = true; k = 1; held_end(k, CLOSED); k = 0 }
	:: d_step { hung_up[2] && !ask[2] -> hung_up[2] = false; client_gone[2] = true; k = 2; held_end(k, CLOSED); k = 0 }
	:: d_step { h_ending[1] -> k = 1; finish(k); k = 0 }
	:: d_step { h_ending[2] -> k = 2; finish(k); k = 0 }
	:: d_step { r_state[1] == DETACHING && !gave_up[1] -> k = 1; quiet_overdue(k); k = 0 } /* the timer */
	:: d_step { r_state[2] == DETACHING && !gave_up[2] -> k = 2; quiet_overdue(k); k = 0 }
	:: d_step { back?order, l, clean -> message_back() }
	:: d_step {
		jobs_back?order, l ->
			if
			:: order == MAKE -> made()
			:: order == DESTROY -> destroyed[l] = true; free_if_done()
			:: order == RELEASE -> released(l)
			fi;
			order = 0;
			l = 0
	}
	:: d_step { fate > 0 && !revoked && r_state[1] > WAITING && r_state[1] < DETACHING && status[1] == NONE ->
		fate--; revoked = true; k = 1; held_end(k, REVOKED); k = 0 }
	:: finished && OVER(1) && OVER(2) && GONE(1) && GONE(2) -> break
	od;
	/* Everything is given back. */
	assert(!n_qp[1] && !n_qp[2] && !c_qp[1] && !c_qp[2]);
	assert(!n_reg[1] && !n_reg[2] && !n_mem[1] && !n_mem[2]);
	assert(!c_reg[1] && !c_reg[2] && !c_mem[1] && !c_mem[2])
}

/* ---- src/client/lease.c, verbs_lease.c, verbs_node.c ---- */

#define IDLE_C(l) ((c_of[1] != l || c_out[1] == 0) && (c_of[2] != l || c_out[2] == 0))

inline post_node(kind, about, tag)
{
	if
	:: c_err[c_of[about]]
	:: else -> to_node[c_of[about]]!kind, about, tag; c_out[about]++
	fi
}

/* adv_verbs_progress(): heard() */
inline progress()
{
	do
	:: len(client_cq[link]) > 0 ->
		client_cq[link]?kind, k, tag;
		if
		:: tag == my_tag -> assert(k == lease) /* none of an earlier lease is acted on */
		:: else
		fi
	:: else -> break
	od;
	kind = 0;
	k = 0;
	tag = 0
}

/* adv_verbs_link_destroy() */
inline link_destroy(l)
{
	c_qp[l] = false;
	if
	:: c_of[1] == l -> c_out[1] = 0
	:: else
	fi;
	if
	:: c_of[2] == l -> c_out[2] = 0
	:: else
	fi;
	disconnected[l] = true
}

/* adv_verbs_lease_prepare(), adv_verbs_lease_read(), adv_verbs_lease_attach() */
inline open_lease()
{
	d_step {
		c_mem[lease] = true;
		c_reg[lease] = true;
		link = rest;
		rest = NONE;
		offered = link;
		ask[lease] = true
	};
	grant[lease] != NONE;
	if
	:: d_step { grant[lease] == 1 && g_link[lease] != NONE ->
		my_tag = g_tag[lease]; c_of[lease] = link; assert(g_link[lease] == link) }
	:: d_step { grant[lease] == 2 -> ok = false }
	:: d_step { else ->
			my_tag = g_tag[lease];
			if
			:: link != NONE -> link_destroy(link)
			:: else
			fi;
			link = lease; /* a new one */
			c_of[lease] = link;
			c_qp[link] = true;
			knock_lease = lease;
			knock[link] = true
		};
		d_step { accepted[link] != NONE -> ok = (accepted[link] == 1) }
	fi
}

/* adv_lease_close(): adv_verbs_lease_quiet(), adv_keeper_stop(), adv_verbs_lease_free() */
inline close_lease()
{
	if
	:: ok ->
		d_step { post_node(QUIET, lease, my_tag); said_quiet = true };
		if
		:: IDLE_C(link) || c_err[link]
		:: true /* 100 ms */
		fi;
		d_step { progress() };
		said_release[lease] = true;
		if
		:: ended[lease] != NONE
		:: !patient
		fi
	:: else
	fi;
	/* give_link_back() */
	if
	:: d_step { link != NONE -> progress();
		if
		:: ok && ended[lease] == CLOSED && IDLE_C(link) && !c_err[link] -> rest = link
		:: else -> link_destroy(link)
		fi;
		link = NONE }
	:: else
	fi;
	/* ibv_dereg_mr(), munmap() */
	d_step {
		assert(!c_qp[c_of[lease]] || c_err[c_of[lease]] || c_out[lease] == 0);
		c_reg[lease] = false
	};
	d_step {
		assert(!c_reg[lease]);
		c_mem[lease] = false;
		hung_up[lease] = true /* the connection is closed */
	}
}

active proctype Client()
{
	bool ok = true, patient, called;
	byte kind, k, tag;
	if
	:: patient = true
	:: skip
	fi;
	do
	:: lease < 2 ->
		lease++;
		ok = true;
		called = false;
		open_lease();
		do
		:: d_step { ok && !called -> called = true; post_node(WRITE, lease, my_tag) }
		:: d_step { ok && len(client_cq[link]) > 0 -> progress() }
		:: break
		od;
		close_lease()
	:: d_step { lease == 2 || !ok -> 
			if
			:: rest != NONE -> link_destroy(rest); rest = NONE
			:: else
			fi
		};
		break
	od;
	finished = true
}
