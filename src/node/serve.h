/* serve.h - `adverb serve`. */
#ifndef ADVERB_NODE_SERVE_H
#define ADVERB_NODE_SERVE_H

/* Runs a node until SIGTERM or SIGINT. An exit status. Called with one thread. */
int adv_cmd_serve(int argc, char **argv);

#endif
