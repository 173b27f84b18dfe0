#if !defined(PART_NODE)
#define CLIENT_SLEEPS
#endif
#if defined(PART_NODE) || defined(PART_ALL)
#define NODE_SLEEPS
#endif
#if !defined(PART_MANY) && !defined(PART_ALL)
#define LINES /* a death, revocation, the end */
#endif
#if defined(PART_MANY)
#define CALLS 6
#elif defined(PART_ALL)
#define CALLS 3
#else
#define CALLS 2
#endif
#if defined(PART_FULL) || defined(PART_ALL)
#define DEPTH 2 /* of the node's send queue */
#endif
#define N     2 /* entries, and slots */
#define BASE2 11 /* where the second epoch begins to count: death.pml shows how that is found */

/* To the node, and as immediates there. */
#define CALL 1
#define ARM  2
/* To the client: writes, with an immediate or without. */
#define ENTRY	   1
#define REST	   2 /* of a node line */
#define GENERATION 3
#define NOTHING	   4

/* A node line but for its generation. */
#define RECORD	 1 /* the death record of the first epoch */
#define REVOKING 2
#define ENDED	 4
#define STATE(epoch, rest) ((epoch) * 8 + ((rest) & (REVOKING | ENDED))) /* adv_lane_state() */

/* Receives of each side for one lane: adv_remote_receives() without the one for QUIET, receives(). */
#define NODE_RECEIVES	(N + 1)
#define CLIENT_RECEIVES (1 + N + 1)

/*
 * The connection. To the node: on the way, or in the queue and not taken yet; the memory is written before. To the client: what waits
 * behind an immediate that is not in the queue yet. Everything else is at its place at once: that is no loss, as the way to the node
 * takes as long as you like, and nobody but the poller tells what comes first.
 */
chan node_cq = [3 * N + 1] of { byte, byte };
chan to_client = [8] of { byte, byte, bool };
bool coming;	  /* an immediate whose write is at its place */
byte coming_seq;  /* its completion's number; 0: a NOTE */
chan client_cq = [CLIENT_RECEIVES] of { byte };

/* The node's memory. */
byte req[N];
#if defined(PART_HAND_OVER)
byte landing[N];
#endif
byte arm_seq, arm_state; /* the arm line */
byte cpl[N];
byte n_epoch = 1, n_rest; /* the node line */

/* The client's mirror. */
byte mir[N];
byte m_epoch = 1, m_rest;

/* Control thread and poller. */
bool mail_line, mail_detach;

#if defined(CLIENT_SLEEPS)
bool c_notify, c_event; /* the channel: an event for the first entry of the queue after each notify */
byte other = 1;		/* entries of another kind: completions of the client's sends */
#endif
#if defined(DEPTH)
byte nr_sent;	/* of the poller's sends, those that it does not know to be complete */
bool want_room; /* it waits for them */
#endif
#if defined(NODE_SLEEPS)
bool p_notify, p_event;
bool worker_sleeping, relay_sleeping;
bool waiting[N];       /* the worker's futexes */
bool event_fd;	       /* workers to the poller */
bool asleep, wake_fd;  /* the control thread to the poller */
bool back_line;
#endif

/* The worker's process, and how much each epoch's has completed. */
byte alive = 1; /* its epoch; 0: reaped */
byte completed[3];

/* What is checked. */
#define BEHIND(epoch) (((epoch) == 1 -> 1 : BASE2) + completed[epoch]) /* the number after the last completion */
bool asked; /* an ARM was sent, and no answer to it was */

/* A completion queue has another entry. */
inline client_event()
{
#if defined(CLIENT_SLEEPS)
	if
	:: c_notify && !c_event -> c_event = true
	:: else
	fi
#else
	skip
#endif
}

inline poller_event(wanted)
{
#if defined(NODE_SLEEPS)
	if
	:: wanted && p_notify && !p_event -> p_event = true
	:: else
	fi
#else
	skip
#endif
}

/* ---- the connection ---- */

/* CALL, ARM: the writes before them are at their place. */
inline to_node(kind_, seq_)
{
#if defined(PART_MANY)
	assert(len(node_cq) < NODE_RECEIVES);
#endif
	node_cq!kind_, seq_;
	poller_event(true)
}

/* What is first in the queue, to its place. */
inline place(kind_, what_, imm_)
{
	if
	:: kind_ == ENTRY -> mir[what_ % N] = what_
	:: kind_ == REST -> m_rest = what_
	:: kind_ == GENERATION -> m_epoch = what_
	:: kind_ == NOTHING
	fi;
	if
	:: imm_ -> coming = true; coming_seq = (kind_ == ENTRY -> what_ : 0)
	:: else
	fi
}

/* Immediates come, and what was behind them; sends are complete. */
active proctype Device()
{
	byte kind, what;
	bool imm;
end:	do
	:: d_step {
		coming ->
			assert(len(client_cq) < CLIENT_RECEIVES);
			client_cq!coming_seq;
			client_event();
			coming = false;
			coming_seq = 0
		}
	:: d_step {
		!coming && len(to_client) > 0 ->
			to_client?kind, what, imm;
			place(kind, what, imm);
			kind = 0;
			what = 0;
			imm = false
		}
#if defined(PART_CLIENT)
	:: d_step { other > 0 && c_notify && !c_event -> other--; client_event() }
#endif
#if defined(DEPTH)
	:: d_step { nr_sent > len(to_client) -> nr_sent = len(to_client); poller_event(want_room) }
#endif
	od
}

/* ---- src/client/verbs_calls.c, src/client/wait.c, src/lane/caller.c ---- */

/* The completions and the node line that the caller sees. */
#if defined(PART_HAND_OVER)
#define V_CPL	hnd
#define V_EPOCH h_epoch
#define V_REST	h_rest
#else
#define V_CPL	mir
#define V_EPOCH m_epoch
#define V_REST	m_rest
#endif

#define OUTSTANDING    (request_seq != completion_seq)
#define CALLER_ARRIVED (V_CPL[completion_seq % N] == completion_seq)
#define OVER	       (V_EPOCH != my_epoch || (V_REST & ENDED))
#define CAN_SUBMIT     (calls < CALLS && request_seq - completion_seq < N)

/* adv_link_poll() of all there is: heard(), hand_over() */
inline hear_all()
{
	do
	:: nempty(client_cq) ->
		client_cq?seq;
#if defined(PART_HAND_OVER) && defined(FIX_DONE_IS_NO_ANSWER)
		unanswered = unanswered && seq;
#else
		unanswered = false;
#endif
#if defined(PART_HAND_OVER)
		if
		:: seq -> hnd[seq % N] = mir[seq % N]
		:: else
		fi
#endif
	:: empty(client_cq) -> break
	od;
	seq = 0
}

/* adv_verbs_progress() */
#if !defined(PART_HAND_OVER)
#define PROGRESS d_step { hear_all() }
#elif defined(FIX_LINE_FIRST)
#define PROGRESS d_step { epoch = m_epoch; rest = m_rest }; \
	d_step { hear_all(); h_epoch = epoch; h_rest = rest; epoch = 0; rest = 0 }
#else
#define PROGRESS d_step { hear_all() }; \
	d_step { h_epoch = m_epoch; h_rest = m_rest } /* hand_over_line() */
#endif

/* announce() */
inline announce(what)
{
	assert(!asked); /* at most one ARM is unanswered */
	asked = true;
	unanswered = true;
	arm_seq = completion_seq;
	arm_state = STATE(my_epoch, what);
	to_node(ARM, 0)
}

inline adopt()
{
	my_epoch = V_EPOCH;
	request_seq = (my_epoch == 1 -> 1 : BASE2);
	completion_seq = request_seq
}

/* adv_submit(): adv_caller_submit(), adv_verbs_post() */
inline submit()
{
	if
	:: V_REST & (ENDED | REVOKING) -> calls = CALLS
	:: else ->
		if
		:: V_EPOCH != my_epoch && !OUTSTANDING -> adopt()
		:: else
		fi;
		if
		:: V_EPOCH == my_epoch ->
#if defined(PART_HAND_OVER)
			landing[request_seq % N] = request_seq;
#else
			req[request_seq % N] = request_seq;
#endif
			to_node(CALL, request_seq);
			request_seq++;
			calls++
		:: else /* ADV_BUSY */
		fi
	fi
}

/* take_one() */
inline take_one()
{
	assert(completion_seq < BEHIND(my_epoch) && OUTSTANDING);
	completion_seq++
}

/* wind_up(): the oldest call was run by a dead worker, the others were not; none of them was completed */
inline wind_up()
{
	if
	:: V_EPOCH != my_epoch ->
		assert(BEHIND(my_epoch) <= completion_seq);
		assert(V_REST & RECORD); /* death_of() */
		adopt()
	:: else -> /* ended */
#if defined(PART_END)
		assert(BEHIND(my_epoch) <= completion_seq);
#endif
		completion_seq = request_seq
	fi
}

/* adv_caller_poll(): take(), is_over(), and once more take(), which is the look that counts */
inline poll()
{
#if defined(MUTANT_NO_LAST_TAKE)
	if
	:: d_step { CALLER_ARRIVED -> take_one() }
	:: else ->
		if
		:: d_step { OVER -> wind_up() }
		:: else
		fi
	fi
#else
	if
	:: d_step { CALLER_ARRIVED -> take_one() }
	:: else -> d_step { wind_up() } /* is_over() has looked */
	fi
#endif
}

#if defined(PART_EVENT_LOOP)
/* Between adv_lease_arm() and waiting for its descriptor. */
inline submit_armed()
{
	d_step {
		CAN_SUBMIT ->
			submit();
#if defined(FIX_SUBMIT_ARMED)
			if /* adv_caller_submit() has seen that neither is set */
			:: OUTSTANDING && !unanswered -> announce(0)
			:: else
			fi
#endif
	}
}
#endif

/* adv_verbs_arm(), adv_caller_sleep(), is_lost(); asleep on the channel; adv_verbs_awake() */
inline sleep()
{
#if !defined(MUTANT_NOTIFY_LATE)
	c_notify = true;
#endif
#if !defined(MUTANT_NO_POLL)
	PROGRESS;
#endif
	if
#if defined(MUTANT_TWO_ARMS)
	:: d_step { OUTSTANDING -> announce(V_REST) }
#else
	:: d_step { OUTSTANDING && !unanswered -> announce(V_REST) }
#endif
	:: else
	fi;
	if
#if !defined(MUTANT_NO_LOOK)
	:: OUTSTANDING && (CALLER_ARRIVED || OVER)
#endif
	:: else ->
		PROGRESS;
#if defined(MUTANT_NOTIFY_LATE)
		c_notify = true;
#endif
#if defined(PART_EVENT_LOOP)
		do
		:: OUTSTANDING -> break
		:: CAN_SUBMIT -> submit_armed()
		:: !OUTSTANDING -> goto awake /* there is nothing to wait for */
		od;
#endif
		atomic { c_event -> c_event = false; c_notify = false };
		PROGRESS
	fi;
awake:	skip
}

active proctype Client()
{
	byte my_epoch = 1, request_seq = 1, completion_seq = 1;
	byte calls, seq;
	bool unanswered;
#if defined(PART_HAND_OVER)
	byte hnd[N];
	byte h_epoch = 1, h_rest;
	byte epoch, rest;
#endif
	do
	:: d_step { CAN_SUBMIT -> submit() }
#if defined(PART_HAND_OVER)
	:: OUTSTANDING && (len(client_cq) > 0 || m_epoch != h_epoch || m_rest != h_rest) -> PROGRESS
#endif
#if defined(MUTANT_NO_LAST_TAKE)
	:: OUTSTANDING -> poll()
#else
	:: OUTSTANDING && (CALLER_ARRIVED || OVER) -> poll()
#endif
#if defined(PART_EVENT_LOOP)
	:: OUTSTANDING || CAN_SUBMIT -> sleep()
#elif defined(CLIENT_SLEEPS)
	:: OUTSTANDING -> sleep()
#endif
	:: !OUTSTANDING -> break
	od
}

/* ---- src/poller/relay.c, src/poller/poller.c ---- */

#if defined(DEPTH)
#define ROOM(n) (DEPTH - nr_sent >= n)
#else
#define ROOM(n) true
#endif
#define RELAY_ARRIVED (cpl[next % N] == next)
#if defined(FIX_CARRY_HEARD)
#define MAY_CARRY     (RELAY_ARRIVED && heard >= next)
#else
#define MAY_CARRY     RELAY_ARRIVED
#endif
#define IN_FLIGHT     (heard >= next)

#if defined(MUTANT_GENERATION_FIRST)
#define SECOND REST
#else
#define SECOND GENERATION
#endif

inline post(kind_, what_, imm_)
{
#if defined(DEPTH)
	nr_sent++;
#endif
	if /* of the two writes of a line the second comes by itself */
	:: coming || len(to_client) > 0 || kind_ == SECOND -> to_client!kind_, what_, imm_
	:: else -> place(kind_, what_, imm_)
	fi
}

/* answer_arm() */
inline answer_arm()
{
	if
	:: ROOM(1) -> post(NOTHING, 0, true); armed = false; asked = false
	:: else -> stalled = true
	fi
}

/* heard_arm() */
inline heard_arm()
{
	armed = true;
	if
#if defined(MUTANT_NO_ANSWER)
	:: false -> answer_arm()
#elif defined(MUTANT_SEQ_ALONE)
	:: arm_seq != next -> answer_arm()
#elif defined(MUTANT_STATE_ALONE)
	:: arm_state != sent_state -> answer_arm()
#else
	:: arm_seq != next || arm_state != sent_state -> answer_arm()
#endif
	:: else
	fi
}

/* adv_relay_hear() */
inline hear()
{
	if
	:: kind == CALL && seq >= next && seq < next + N ->
#if defined(PART_HAND_OVER)
		req[seq % N] = landing[seq % N];
#endif
		heard = (seq > heard -> seq : heard);
		listed = true;
#if defined(NODE_SLEEPS) && !defined(MUTANT_NO_WORKER_WAKE)
		if /* wake_worker() */
		:: worker_sleeping -> waiting[seq % N] = false
		:: else
		fi
#endif
	:: kind == ARM -> heard_arm()
	:: else
	fi;
	kind = 0;
	seq = 0
}

/* carry_lane() */
inline carry_lane(may_carry)
{
	do
	:: !stalled && may_carry && ROOM(1) ->
#if defined(PART_HAND_OVER)
		post(ENTRY, next, true);
#elif defined(MUTANT_DONE_BARE)
		post(ENTRY, next, false);
#else
		post(ENTRY, next, armed);
#endif
#if !defined(PART_HAND_OVER) || !defined(FIX_DONE_IS_NO_ANSWER)
		asked = asked && !armed;
		armed = false;
#endif
		next++
	:: !stalled && may_carry && !ROOM(1) -> stalled = true
	:: else -> break
	od
}

/* carry_line() */
inline carry_line()
{
	epoch = n_epoch;
	rest = n_rest;
	if
#if defined(MUTANT_LINE_EARLY)
	:: false
#elif defined(FIX_LAST_CARRY)
	:: epoch != my_epoch || (rest & ENDED) -> carry_lane(RELAY_ARRIVED)
#else
	:: epoch != my_epoch -> carry_lane(RELAY_ARRIVED)
#endif
	:: else
	fi;
	if
	:: stalled
	:: !stalled && !ROOM(2) -> stalled = true
	:: else ->
#if defined(MUTANT_GENERATION_FIRST)
		post(GENERATION, epoch, false);
		post(REST, rest, armed);
#elif defined(MUTANT_LINE_BARE)
		post(REST, rest, false);
		post(GENERATION, epoch, false);
#else
		post(REST, rest, false);
		post(GENERATION, epoch, armed);
#endif
		asked = asked && !armed;
		armed = false;
		sent_state = STATE(epoch, rest);
		if
		:: epoch != my_epoch -> my_epoch = epoch; next = BASE2; heard = BASE2 - 1
		:: else
		fi;
		dirty = false
	fi;
	epoch = 0;
	rest = 0
}

/* What a pass of the poller would find. */
#define POLLABLE (len(node_cq) > 0 || mail_line || mail_detach || (stalled && ROOM(2)) || (dirty && !stalled) || \
	(listed && !ending && !stalled && MAY_CARRY))

/*
 * serve(): adv_link_poll(), adv_relay_hear(), adv_relay_carry(); obey_all(). All is looked at in one step: what comes between two of
 * these looks comes before both, or after both.
 */
inline pass()
{
	do
	:: nempty(node_cq) -> node_cq?kind, seq; hear()
	:: break /* the rest comes later */
	od;
	if
	:: stalled && !ROOM(2)
	:: else ->
		if
#if !defined(MUTANT_NO_DEBTS)
		:: stalled && armed -> stalled = false; heard_arm() /* pay_debts() */
#endif
		:: else -> stalled = false
		fi;
		if
#if defined(MUTANT_UNLISTED)
		:: listed && !ending -> carry_lane(MAY_CARRY); listed = false
#else
		:: listed && !ending -> carry_lane(MAY_CARRY); listed = IN_FLIGHT
#endif
		:: else
		fi;
		if
		:: dirty && !stalled -> carry_line()
		:: else
		fi
	fi;
	dirty = dirty || mail_line;
	ending = ending || mail_detach;
#if defined(NODE_SLEEPS)
	back_line = back_line || mail_line;
#endif
#if defined(DEPTH)
	want_room = stalled;
#endif
	mail_line = false;
	mail_detach = false;
	if
	:: !armed -> arm_seq = 0; arm_state = 0 /* nobody reads them again */
	:: else
	fi
}

#if defined(NODE_SLEEPS)
/* sleep_once(): fall_asleep(), epoll_wait(), take_event() */
inline poller_sleep()
{
#if defined(MUTANT_STATE_LATE)
	d_step { p_notify = true; asleep = true };
#elif defined(MUTANT_QUEUE_LATE)
	d_step { relay_sleeping = listed; asleep = true };
#elif defined(MUTANT_ASLEEP_LATE)
	d_step { relay_sleeping = listed; p_notify = true };
#else
	d_step { relay_sleeping = listed; p_notify = true; asleep = true };
#endif
	if
#if defined(MUTANT_NO_MAIL_LOOK)
	:: POLLABLE && !mail_line && !mail_detach
#elif !defined(MUTANT_NO_LAST_SERVE)
	:: POLLABLE
#endif
	:: else ->
#if defined(MUTANT_STATE_LATE)
		relay_sleeping = listed;
#elif defined(MUTANT_QUEUE_LATE)
		p_notify = true;
#elif defined(MUTANT_ASLEEP_LATE)
		asleep = true;
#endif
end_asleep:
		d_step {
			p_event || event_fd || wake_fd ->
				event_fd = false;
				wake_fd = false;
				if
				:: p_event -> p_event = false; p_notify = false
				:: else
				fi
		}
	fi;
	d_step { asleep = false; relay_sleeping = false }
}
#endif

active proctype Poller()
{
	byte next = 1, heard, my_epoch = 1, sent_state = STATE(1, 0); /* the lane's */
	byte kind, seq, epoch, rest;
	bool listed, armed, dirty, stalled, ending;
end:	do
	:: atomic { POLLABLE -> pass() }
#if defined(NODE_SLEEPS)
	:: !POLLABLE -> poller_sleep()
#endif
	od
}

/* ---- src/lane/lane_worker.c ---- */

#define EXPECTED       BEHIND(alive)
#define WORKER_ARRIVED (alive && req[EXPECTED % N] == EXPECTED)

/* adv_worker_try(), adv_worker_complete(): take(), publish() */
inline serve_one()
{
	d_step { WORKER_ARRIVED -> cpl[EXPECTED % N] = EXPECTED; completed[alive]++ };
#if defined(NODE_SLEEPS)
	if /* wake_caller() */
	:: alive && relay_sleeping -> event_fd = true
	:: else
	fi
#endif
}

#if defined(NODE_SLEEPS)
/* sleep_once(); what its futex is for is shown by sleep.pml */
inline worker_sleep()
{
	d_step { alive && !WORKER_ARRIVED -> worker_sleeping = true };
	if
	:: d_step { WORKER_ARRIVED || !alive -> worker_sleeping = false }
	:: d_step { else -> waiting[EXPECTED % N] = true };
end_asleep:
		d_step { !waiting[0] && !waiting[1] -> worker_sleeping = false }
	fi
}
#endif

active proctype Worker()
{
end:	do
	:: serve_one()
#if defined(NODE_SLEEPS)
	:: worker_sleep()
#endif
	od
}

/* ---- src/control/held.c, workers.c, remote.c: the control thread ---- */

/* adv_sandboxes_kill(), and it is reaped */
inline kill_worker()
{
	alive = 0;
#if defined(NODE_SLEEPS)
	waiting[0] = false;
	waiting[1] = false
#endif
}

/* adv_poller_send() */
#if defined(NODE_SLEEPS)
inline poke()
{
	if
	:: asleep -> wake_fd = true
	:: else
	fi
}
#else
#define poke() skip
#endif

/* adv_remote_line_changed() */
inline line_changed()
{
#if defined(NODE_SLEEPS)
	if
#if !defined(MUTANT_NO_LINE_AGAIN)
	:: line_sent -> line_again = true
#else
	:: line_sent
#endif
	:: else -> line_sent = true; mail_line = true; poke()
	fi
#else
	mail_line = true
#endif
}

/* line_sent() */
inline line_came_back()
{
	back_line = false;
	line_sent = false;
	if
	:: line_again -> line_again = false; line_changed()
	:: else
	fi
}

#if defined(LINES)
active proctype Control()
{
	bool changed;
#if defined(NODE_SLEEPS)
	bool line_sent, line_again;
#endif
end:	do
	:: d_step { !changed -> changed = true; kill_worker() }; /* a death */
		d_step { n_rest = n_rest | RECORD; n_epoch = 2 };
		d_step { line_changed(); alive = 2 }
	:: d_step { !changed -> changed = true; n_rest = n_rest | REVOKING };
		d_step { line_changed() }
#if defined(NODE_SLEEPS)
	:: d_step { back_line -> line_came_back() }
#endif
	:: d_step { !(n_rest & ENDED) -> changed = true; kill_worker() };
		n_rest = n_rest | ENDED;
		d_step { line_changed() };
		d_step { mail_detach = true; poke() }
	:: goto patient /* does nothing of its own accord any more */
	od;
patient:
	skip;
#if defined(NODE_SLEEPS)
end_patient:
	do
	:: d_step { back_line -> line_came_back() }
	od
#endif
}
#endif
