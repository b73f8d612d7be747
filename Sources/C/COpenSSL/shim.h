// OpenSSL 3, as Swift sees it. Function-like macros and variadic functions are not imported by Swift:
// the inline functions below stand in for the ones Bramble needs.
#pragma once
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
