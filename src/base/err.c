// err.c: texts of the error numbers, and errno to error number.
#include <errno.h>

#include "src/base/err.h"

const char *
err_text(int error)
{
    switch (error < 0 ? -(unsigned)error : (unsigned)error) {
    case 0: return "success";
#define X(name, number, text)                                                                                \
    case number: return text;
        LE_MAP(X)
#undef X
    default: return "unknown error";
    }
}

int
err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOMEM: return -LE_NOMEM;
    case EINVAL:
    case EDOM:
    case ERANGE: return -LE_INVAL;
    case EMFILE:
    case ENFILE:
    case EFBIG:
    case ENAMETOOLONG:
    case E2BIG:
    case EMSGSIZE: return -LE_LIMIT;
    case ENOENT:
    case ESRCH:
    case ENXIO:
    case ENODEV: return -LE_NOTFOUND;
    case EEXIST:
    case ENOTEMPTY: return -LE_EXISTS;
    case EAGAIN:
    case EINTR:
    case EINPROGRESS:
    case EALREADY: return -LE_AGAIN;
    case EPIPE:
    case ESHUTDOWN:
    case ENOTCONN: return -LE_CLOSED;
    case ENOSPC:
    case EDQUOT: return -LE_NOSPACE;
    case EACCES:
    case EPERM:
    case EROFS: return -LE_ACCESS;
    case EBUSY:
    case EADDRINUSE:
    case ETXTBSY: return -LE_INUSE;
    case ETIMEDOUT: return -LE_TIMEOUT;
    case EOPNOTSUPP:
    case ENOSYS:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT: return -LE_UNSUPPORTED;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case EADDRNOTAVAIL: return -LE_NETWORK;
    case EBADF:
    case EISCONN: return -LE_STATE;
    default: return -LE_IO;
    }
}
