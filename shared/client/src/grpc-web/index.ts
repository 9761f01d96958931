// SPDX-License-Identifier: Apache-2.0
export { createGrpcWebTransport, type GrpcWebTransportOptions } from './transport.js';
