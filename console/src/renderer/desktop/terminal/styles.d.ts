// SPDX-License-Identifier: Apache-2.0
/** Vite makes a file of them, beside the code that imports it. */
declare module '*.css';
