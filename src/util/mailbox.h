/*
 * mailbox.h - a queue from any number of threads to one, without locks and without memory of its own: a message is its sender's struct.
 * Order is kept for each sender. Treiber's stack, emptied as a whole and turned round by its one reader.
 */
#ifndef ADVERB_UTIL_MAILBOX_H
#define ADVERB_UTIL_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct adv_mail {
	struct adv_mail *next;
};

struct adv_mailbox {
	_Atomic(struct adv_mail *) last;
};

/* The message is the reader's from here on. True: the box was empty before. */
static inline bool adv_mailbox_put(struct adv_mailbox *box, struct adv_mail *mail)
{
	struct adv_mail *last = atomic_load_explicit(&box->last, memory_order_relaxed);
	/* Release for the message's content; a full fence for whoever looks next whether the reader sleeps. */
	do
		mail->next = last;
	while (!atomic_compare_exchange_weak_explicit(&box->last, &last, mail, memory_order_seq_cst,
						      memory_order_relaxed));
	return last == NULL;
}

/* Is there any? For a reader that is about to sleep: pairs with the exchange above. */
static inline bool adv_mailbox_any(const struct adv_mailbox *box)
{
	return atomic_load_explicit(&box->last, memory_order_seq_cst) != NULL;
}

/* All there is, the oldest first; NULL: none. */
static inline struct adv_mail *adv_mailbox_take(struct adv_mailbox *box)
{
	struct adv_mail *first = NULL;
	if (atomic_load_explicit(&box->last, memory_order_relaxed) == NULL)
		return NULL;
	struct adv_mail *m = atomic_exchange_explicit(&box->last, NULL, memory_order_acquire);
	while (m != NULL) {
		struct adv_mail *before = m->next;
		m->next = first;
		first = m;
		m = before;
	}
	return first;
}

#endif
