/* buffers.c - a node's heap of buffers: registered with the device that reaches the node, where there is one. Any thread. */
#include <errno.h>
#include <string.h>

#include "client/heap.h"
#include "client/internal.h"
#include "client/verbs.h"

#if ADV_HAVE_VERBS

static bool remember(void *user, void *at, size_t size, uint32_t *lkey, void **handle)
{
	struct adv_verbs_node *verbs = user;
	char reason[ADV_REASON_MAX];
	struct ibv_mr *mr =
		adv_memory_register(verbs->pd, at, size, (uintptr_t)at, 0, reason, sizeof(reason));
	if (mr == NULL) {
		adv_client_fail(ADV_SYSTEM, "%s", reason);
		return false;
	}
	*lkey = mr->lkey;
	*handle = mr;
	return true;
}

static void forget(void *handle)
{
	ibv_dereg_mr(handle);
}

#endif

static struct adv_heap *make_heap(struct adv_node *node)
{
	struct adv_heap_registrar registrar = {0};
#if ADV_HAVE_VERBS
	if (node->verbs != NULL) {
		if (adv_node_find_device(node) != ADV_OK)
			return NULL;
		registrar = (struct adv_heap_registrar){remember, forget, node->verbs};
	}
#else
	(void)node;
#endif
	struct adv_heap *heap = adv_heap_create(&registrar);
	if (heap == NULL)
		adv_client_fail_text(ADV_NO_MEMORY, "no room in the address space for buffers");
	return heap;
}

/* The heap of this process: a forked child's is its own. */
static struct adv_heap *heap_of(struct adv_node *node)
{
	/* Acquire: pairs with the exchange below. */
	struct adv_heap *heap = atomic_load_explicit(&node->heap, memory_order_acquire);
	if (heap != NULL && !adv_heap_foreign(heap))
		return heap;
	struct adv_heap *made = make_heap(node);
	if (made == NULL)
		return NULL;
	/* A parent's heap stays: its child may still read what lies there. */
	if (atomic_compare_exchange_strong_explicit(&node->heap, &heap, made, memory_order_acq_rel,
						    memory_order_acquire))
		return made;
	adv_heap_destroy(made);
	return heap;
}

void adv_node_free_heap(struct adv_node *node)
{
	adv_heap_destroy(atomic_load_explicit(&node->heap, memory_order_acquire));
}

void adv_node_trim_heap(struct adv_node *node)
{
	struct adv_heap *heap = atomic_load_explicit(&node->heap, memory_order_acquire);
	if (heap != NULL)
		adv_heap_trim(heap);
}

bool adv_client_registered(const struct adv_lease *l, const void *at, uint32_t size, uint32_t *lkey)
{
	if (l->verbs == NULL)
		return false;
	const struct adv_heap *heap = atomic_load_explicit(&l->node->heap, memory_order_acquire);
	return heap != NULL && adv_heap_covers(heap, at, size, lkey) && !adv_heap_foreign(heap);
}

void *adv_buffer_alloc(struct adv_node *node, size_t size)
{
	if (node == NULL) {
		adv_client_fail_text(ADV_INVALID, "adv_buffer_alloc: node is NULL");
		return NULL;
	}
	struct adv_heap *heap = heap_of(node);
	return heap != NULL ? adv_heap_alloc(heap, size) : NULL;
}

void adv_buffer_free(struct adv_node *node, void *buffer)
{
	struct adv_heap *heap =
		node != NULL ? atomic_load_explicit(&node->heap, memory_order_acquire) : NULL;
	/* What a parent allocated is not a child's to free. */
	if (heap != NULL && !adv_heap_foreign(heap))
		(void)adv_heap_free(heap, buffer);
}
