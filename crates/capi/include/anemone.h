/*
 * anemone.h: MIL programs compiled and evaluated from C and C++.
 *
 * MIL is Core ML's Model Intermediate Language. A program arrives as text, with its constants in
 * weight files; a device compiles one function of it into a kernel; a request is a kernel with
 * memory for its inputs and outputs. One kernel serves any number of requests.
 *
 *     device ---- compile ----> kernel ---- request_new ----> request ---- evaluate, evaluate, ...
 *
 * Errors. A function that can fail returns an anemone_status, 0 (ANEMONE_OK) if it did what it
 * says. anemone_last_error() then tells, in words, what was expected and what was found. The
 * message belongs to the calling thread: no other thread sees or changes it. Results are given
 * through pointers; when a function fails they hold NULL, 0 or, for an index, SIZE_MAX, and nothing
 * else has changed. No function ends the process, prints, or lets a C++ exception or a Rust panic
 * through: a mistake inside the library is ANEMONE_ERROR_INTERNAL.
 *
 * Pointers. NULL where it is not allowed is ANEMONE_ERROR_ARGUMENT. Other pointers must be what
 * the function asks for; the library cannot check that. Strings are UTF-8 and end with NUL. What a
 * function reads it copies: the caller's memory is not kept.
 *
 * Ownership. What an `_open`, `_new` or `compile` function gives is freed by the `_free` function
 * of its type, once, by the caller. `_free(NULL)` does nothing. Objects do not depend on the ones
 * they were made from: a device may be freed before its kernels, a kernel before its requests.
 * A pointer that the library gives (a name, dimensions, mapped memory) belongs to the object that
 * it was asked of and must not be freed.
 *
 * Threads. Devices, weights and kernels may be used by any number of threads at once. A request is
 * for one thread at a time: while one uses it, calls of others return ANEMONE_ERROR_BUSY at once.
 * It need not always be the same thread. Nothing may be used while or after it is freed.
 *
 * Processes. Do not use a device, or anything made from one, in the child of a fork: its threads
 * do not exist there.
 *
 * The header is C99, and C++ since C++11.
 */
#ifndef ANEMONE_H
#define ANEMONE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors --------------------------------------------------------------------------------- */

/* What a call came to. */
typedef int32_t anemone_status;

enum {
    ANEMONE_OK = 0,
    /* The call is wrong: NULL, an index, a size, a name. */
    ANEMONE_ERROR_ARGUMENT = 1,
    /* The text or a weight file is not a valid program; the message has line and column. */
    ANEMONE_ERROR_PROGRAM = 2,
    /* The device cannot do it, refused, or failed. See anemone_last_error_code. */
    ANEMONE_ERROR_DEVICE = 3,
    /* A request is used by another thread, or an input or output is mapped. */
    ANEMONE_ERROR_BUSY = 4,
    /* The operating system refused memory, a file or a thread. */
    ANEMONE_ERROR_SYSTEM = 5,
    /* A budget of this process is spent; a new process can go on. */
    ANEMONE_ERROR_NEW_PROCESS = 6,
    /* A mistake of this library; please report it. */
    ANEMONE_ERROR_INTERNAL = 7
};

/* The message of the calling thread's last failed call, or "" if none has failed. Never NULL.
 * A call that succeeds leaves it as it is. It is valid until the thread's next failure or end. */
const char *anemone_last_error(void);

/* The engine's status code that came with the last message, such as 0x1d, or 0 if there was
 * none. */
uint32_t anemone_last_error_code(void);

/* The library's version, such as "0.1.0". */
const char *anemone_version(void);

/* ---- devices -------------------------------------------------------------------------------- */

typedef struct anemone_device anemone_device;

/* Opens a device by name:
 *
 *     cpu              the CPU, with as many threads as ANEMONE_THREADS or the machine says
 *     cpu:4            the CPU with 4 threads
 *     ane-emulated     an emulator of the Neural Engine of Apple's M4, on the CPU
 *     ane-emulated:m1  the same of another chip, m1 to m5
 *     ane-emulated:m4:26   and with another major version of macOS
 *
 * The emulator compiles the function `main` of a program as it stands, and refuses what the engine
 * refuses, with the engine's status codes (anemone_last_error_code). It stands for one process:
 * budgets such as that of 119 compilations are shared by all devices of this name and do not come
 * back when one is freed; ANEMONE_ERROR_NEW_PROCESS tells that one is spent. */
anemone_status anemone_device_open(const char *name, anemone_device **device);

/* What the device computes with, in words, for logs. "" if device is NULL. */
const char *anemone_device_description(const anemone_device *device);

void anemone_device_free(anemone_device *device);

/* ---- weights -------------------------------------------------------------------------------- */

/* The weight files of a program, which refers to them as @model_path/FILE. They are in MIL blob
 * storage, the format of Core ML's weight.bin; ane_bridge.h has functions that make them. */
typedef struct anemone_weights anemone_weights;

/* The weight files in a folder, which stands for @model_path; or, if folder is NULL, files in
 * memory, none at first. Files of a folder are read by anemone_compile_*; links that lead out of
 * the folder are refused. */
anemone_status anemone_weights_new(const char *folder, anemone_weights **weights);

/* Adds a copy of a file to weights in memory. The path is what the program writes, such as
 * "@model_path/weights/weight.bin"; "@model_path/" may be left out. A path that is absolute, has a
 * "..", or is there already is ANEMONE_ERROR_ARGUMENT. */
anemone_status anemone_weights_add(anemone_weights *weights, const char *path, const void *data,
                                   size_t bytes);

void anemone_weights_free(anemone_weights *weights);

/* ---- kernels -------------------------------------------------------------------------------- */

typedef struct anemone_kernel anemone_kernel;

/* Compiles one function of a program: the one named, or, if function is NULL, `main` or else the
 * only one. Shapes must be fixed.
 *
 * text:     mil has mil_bytes bytes of text; a NUL after it is not needed. weights may be NULL.
 * file:     path is a .mil file, or a .mlmodelc folder with a model.mil in it. If weights is NULL,
 *           the folder of the text stands for @model_path. */
anemone_status anemone_compile_text(const anemone_device *device, const char *mil, size_t mil_bytes,
                                    const anemone_weights *weights, const char *function,
                                    anemone_kernel **kernel);
anemone_status anemone_compile_file(const anemone_device *device, const char *path,
                                    const anemone_weights *weights, const char *function,
                                    anemone_kernel **kernel);

void anemone_kernel_free(anemone_kernel *kernel);

/* Element types. The numbers up to 17 are those of MIL blob storage. A bool takes a byte, types
 * below 8 bits are packed from the low bit up. */
enum {
    ANEMONE_FP16 = 1,
    ANEMONE_FP32 = 2,
    ANEMONE_UINT8 = 3,
    ANEMONE_INT8 = 4,
    ANEMONE_BF16 = 5,
    ANEMONE_INT16 = 6,
    ANEMONE_UINT16 = 7,
    ANEMONE_INT4 = 8,
    ANEMONE_UINT1 = 9,
    ANEMONE_UINT2 = 10,
    ANEMONE_UINT4 = 11,
    ANEMONE_UINT3 = 12,
    ANEMONE_UINT6 = 13,
    ANEMONE_INT32 = 14,
    ANEMONE_UINT32 = 15,
    ANEMONE_FP8_E4M3FN = 16,
    ANEMONE_FP8_E5M2 = 17,
    ANEMONE_BOOL = 32,
    ANEMONE_FP64 = 33,
    ANEMONE_INT64 = 34,
    ANEMONE_UINT64 = 35
};

/* The name of an element type in MIL, such as "fp16"; "unknown" for other numbers. */
const char *anemone_dtype_name(int32_t dtype);

/* An input or output. The name and the dimensions belong to the kernel. */
typedef struct anemone_port {
    const char *name;
    int32_t dtype;
    size_t rank;
    /* rank dimensions, the last one innermost. */
    const size_t *dims;
    /* Size of the tensor, row-major and without gaps. */
    size_t bytes;
} anemone_port;

/* How many inputs and outputs there are; 0 if kernel is NULL. On the CPU they are numbered in order
 * of declaration, on engines in binding order, which is that of their names. */
size_t anemone_kernel_input_count(const anemone_kernel *kernel);
size_t anemone_kernel_output_count(const anemone_kernel *kernel);

/* Describes an input or output. */
anemone_status anemone_kernel_input(const anemone_kernel *kernel, size_t index, anemone_port *port);
anemone_status anemone_kernel_output(const anemone_kernel *kernel, size_t index,
                                     anemone_port *port);

/* The index of the input or output with this name. */
anemone_status anemone_kernel_find_input(const anemone_kernel *kernel, const char *name,
                                         size_t *index);
anemone_status anemone_kernel_find_output(const anemone_kernel *kernel, const char *name,
                                          size_t *index);

/* Where an operation runs, such as "cpu: matrix product" or "interpreter". The strings belong to
 * the kernel. */
typedef struct anemone_placement {
    /* The operation's first result. */
    const char *value;
    /* The op, such as "matmul". */
    const char *op;
    const char *place;
} anemone_placement;

/* How many operations anemone_kernel_placement describes; 0 if kernel is NULL. */
size_t anemone_kernel_placement_count(const anemone_kernel *kernel);

/* Where an operation runs, in the order of the program. */
anemone_status anemone_kernel_placement(const anemone_kernel *kernel, size_t index,
                                        anemone_placement *placement);

/* ---- requests ------------------------------------------------------------------------------- */

/* A kernel with memory of its own for every input and output, zero at first. */
typedef struct anemone_request anemone_request;

anemone_status anemone_request_new(const anemone_kernel *kernel, anemone_request **request);

/* Frees a request, and ends every mapping of it: pointers that anemone_request_map_* gave must not
 * be used afterwards. */
void anemone_request_free(anemone_request *request);

/* The memory of an input, to write, or of an output, to read, without a copy: bytes is the size of
 * the tensor (anemone_port.bytes), and the address is that of a page, unless the tensor is empty.
 * The request cannot be evaluated until the memory is unmapped, and what is mapped already cannot
 * be mapped again: both are ANEMONE_ERROR_BUSY. After unmapping, the pointer must not be used.
 *
 * What was written stays from one evaluation to the next. Outputs hold nothing in particular after
 * an evaluation that failed. */
anemone_status anemone_request_map_input(anemone_request *request, size_t index, void **data,
                                         size_t *bytes);
anemone_status anemone_request_unmap_input(anemone_request *request, size_t index);
anemone_status anemone_request_map_output(anemone_request *request, size_t index, const void **data,
                                          size_t *bytes);
anemone_status anemone_request_unmap_output(anemone_request *request, size_t index);

/* Copies a whole tensor. bytes must be its size, anemone_port.bytes; otherwise nothing is copied
 * and the call is ANEMONE_ERROR_ARGUMENT. */
anemone_status anemone_request_write_input(anemone_request *request, size_t index, const void *data,
                                           size_t bytes);
anemone_status anemone_request_read_output(anemone_request *request, size_t index, void *data,
                                           size_t bytes);

/* Computes the outputs from the inputs, and returns when they are there. */
anemone_status anemone_request_evaluate(anemone_request *request);

/* ---- numbers -------------------------------------------------------------------------------- */

/* Converts count numbers; C has no fp16, here its bits are a uint16_t. Rounds to nearest, ties to
 * even; what is too large becomes infinite. The arrays must not overlap. */
anemone_status anemone_fp32_to_fp16(const float *from, uint16_t *to, size_t count);
anemone_status anemone_fp16_to_fp32(const uint16_t *from, float *to, size_t count);

#ifdef __cplusplus
}
#endif

#endif /* ANEMONE_H */
