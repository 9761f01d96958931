/* SPDX-License-Identifier: Dual BSD/GPL */
/* The client of each flow: address and port, in host order. */
#ifndef BENCH_FLOW_PORTS_H
#define BENCH_FLOW_PORTS_H

#define FLOW_PORTS 32768u                                         /* of one client */
#define FLOW_CLIENT(flow) (0x0a000000u + (flow) / FLOW_PORTS + 1) /* 10.0.0.1 and on */
#define FLOW_PORT(flow) ((unsigned short)(1024 + (flow) % FLOW_PORTS))

#endif
