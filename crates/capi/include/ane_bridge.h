/*
 * ane_bridge.h: programs for the Neural Engine, by the names and signatures of the bridge of the
 * maderix/ANE project, so that programs written for that one link unchanged. anemone.h is the
 * interface to prefer for new ones; both are in the same library and may be mixed.
 *
 * What runs. Programs go to the device that the environment variable ANE_BRIDGE_DEVICE names, in
 * the words of anemone_device_open; unless it is set, to "ane-emulated": an emulator of the engine
 * of Apple's M4, which refuses what the engine refuses, with the same status codes.
 *
 * Errors. Functions return NULL, -1 or false, and those that return nothing do nothing;
 * ane_bridge_last_error() then has the reason in words, for the calling thread.
 * Programs that do not know that function can be run with the environment variable
 * ANE_BRIDGE_VERBOSE set to anything: every failure is then one line on standard error.
 *
 * Indices. Input and output i are the i-th in the engine's binding order: the order of their names
 * in the program, byte by byte, whatever the order of declaration. In `main(a2, b, a10)` input 0
 * is a10, input 1 is a2, input 2 is b. The sizes given to ane_bridge_compile are in that order.
 *
 * Sizes. The sizes given to ane_bridge_compile are those of the surfaces, in bytes. The engine
 * evaluates only if all input surfaces have one size, all output surfaces have one size, each holds
 * its tensor, and none is smaller than 16384 bytes. Otherwise compiling succeeds and
 * ane_bridge_eval fails with status 0x1d, as on the engine. A tensor lies at the beginning of its
 * surface, row-major and without gaps.
 *
 * Ownership. Handles are freed by ane_bridge_free, blobs by ane_bridge_free_blob, each once. Data
 * that is passed in is copied. Pointers must be NULL or what the function asks for; NULL where it
 * is not allowed is an error.
 *
 * Threads. All functions may be called from any thread. A handle is for one thread at a time: while
 * one uses it, calls of others fail at once. Nothing may be used while or after it is freed.
 *
 * Different from the original: sizes and arguments are checked, ane_bridge_free_blob exists, int8
 * blobs are whole weight files, weight names cannot leave the folder, ane_bridge_last_error is new.
 */
#ifndef ANE_BRIDGE_H
#define ANE_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A compiled program with its surfaces. */
typedef struct ANEKernelHandle ANEKernelHandle;

/* Opens the device. 0 if it is open, -1 if it cannot be. May be called any number of times, or not
 * at all: compiling opens it too. */
int ane_bridge_init(void);

/* The reason of the calling thread's last failure, or "" if nothing has failed. Never NULL. Valid
 * until the thread's next failure or end; calls that succeed leave it as it is. */
const char *ane_bridge_last_error(void);

/* Compiles the function `main` of a MIL text, loads it and makes its surfaces, zero at first.
 *
 *     mil_text, mil_len        the text; a NUL after it is not needed
 *     weight_data, weight_len  the weight file that the program calls
 *                              @model_path/weights/weight.bin, or NULL and 0 for none
 *     n_inputs, input_sizes    bytes of every input's surface, in binding order
 *     n_outputs, output_sizes  the same of outputs
 *
 * NULL if the program is not valid, the device refuses it, a budget is spent, or the numbers of
 * inputs and outputs are not those of the program. */
ANEKernelHandle *ane_bridge_compile(const char *mil_text, size_t mil_len,
                                    const uint8_t *weight_data, size_t weight_len, int n_inputs,
                                    const size_t *input_sizes, int n_outputs,
                                    const size_t *output_sizes);

/* The same with any number of weight files. weight_names[i] is what the program calls file i, such
 * as "@model_path/weights/wq.bin"; names that are absolute, have a "..", or come twice are
 * refused. weight_datas[i] has weight_lens[i] bytes. */
ANEKernelHandle *ane_bridge_compile_multi_weights(const char *mil_text, size_t mil_len,
                                                  const char **weight_names,
                                                  const uint8_t **weight_datas,
                                                  const size_t *weight_lens, int n_weights,
                                                  int n_inputs, const size_t *input_sizes,
                                                  int n_outputs, const size_t *output_sizes);

/* Computes the outputs, and returns when they are there. false if the engine fails, or if a write
 * to this handle was refused since the last call: what is in the surfaces is not what was meant.
 * Outputs hold nothing in particular after a failure. */
bool ane_bridge_eval(ANEKernelHandle *kernel);

/* Copies bytes to the beginning of input idx. If there is no such input, or its surface is smaller,
 * nothing is copied, and the next ane_bridge_eval fails. */
void ane_bridge_write_input(ANEKernelHandle *kernel, int idx, const void *data, size_t bytes);

/* Copies bytes from the beginning of output idx. If there is no such output, or its surface is
 * smaller, nothing is copied. */
void ane_bridge_read_output(ANEKernelHandle *kernel, int idx, void *data, size_t bytes);

/* Unloads the program and frees its surfaces. NULL is nothing. */
void ane_bridge_free(ANEKernelHandle *kernel);

/* How many programs these functions have compiled since the process began or the count was reset.
 * Resetting does not give back what is used of the engine's own budget. */
int ane_bridge_get_compile_count(void);
void ane_bridge_reset_compile_count(void);

/* Weight files of one matrix of rows x cols numbers, row-major. All are MIL blob storage: the
 * program refers to the matrix with offset = uint64(64). *out_len gets the size of the file. NULL
 * if rows or cols is less than 1, a pointer is NULL, or there is no memory.
 *
 * The memory is freed by ane_bridge_free_blob, or by free() where the program uses the same C
 * library; not by both. */

/* fp16, [rows, cols]; rounded to nearest, too large numbers become infinite. */
uint8_t *ane_bridge_build_weight_blob(const float *src, int rows, int cols, size_t *out_len);

/* fp16, transposed: [cols, rows]. */
uint8_t *ane_bridge_build_weight_blob_transposed(const float *src, int rows, int cols,
                                                 size_t *out_len);

/* int8, [rows, cols]. */
uint8_t *ane_bridge_build_weight_blob_int8(const int8_t *src, int rows, int cols, size_t *out_len);

/* int8, [rows, cols], with one scale for the whole matrix: src is about *out_scale times the int8
 * numbers, which lie in -127 to 127; *out_scale is the largest magnitude over 127, or 1 if all
 * numbers are 0. NULL if a number is infinite or NaN. */
uint8_t *ane_bridge_build_weight_blob_quantized(const float *src, int rows, int cols,
                                                float *out_scale, size_t *out_len);

/* Frees a blob. NULL is nothing. What is no blob, or has been freed by this function already, is
 * left alone, with a message. Never call it after free(): the address may have been given out
 * again. */
void ane_bridge_free_blob(void *ptr);

#ifdef __cplusplus
}
#endif

#endif /* ANE_BRIDGE_H */
