// OpenSSL 3, as Swift sees it. Function-like macros and variadic functions are not imported by Swift:
// the inline functions below stand in for the ones Bramble needs.
#pragma once
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static inline EVP_PKEY *copenssl_generate_p256(void) { return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"); }

/// The bytes a memory BIO holds, without taking them out.
static inline long copenssl_bio_contents(BIO *bio, char **start) { return BIO_get_mem_data(bio, start); }

/// How many bytes a memory BIO holds.
static inline size_t copenssl_bio_pending(BIO *bio) { return BIO_ctrl_pending(bio); }

static inline int copenssl_aead_set_tag(EVP_CIPHER_CTX *context, int length, void *tag) {
    return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, length, tag);
}
static inline int copenssl_aead_get_tag(EVP_CIPHER_CTX *context, int length, void *tag) {
    return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, length, tag);
}

/// HKDF of RFC 5869 with SHA-256, extract and expand. 1 on success.
static inline int copenssl_hkdf_sha256(
    const unsigned char *secret, size_t secret_length, const unsigned char *salt, size_t salt_length,
    const unsigned char *info, size_t info_length, unsigned char *out, size_t out_length) {
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    int ok = context != NULL && EVP_PKEY_derive_init(context) > 0 &&
        EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha256()) > 0 &&
        EVP_PKEY_CTX_set1_hkdf_salt(context, salt, (int)salt_length) > 0 &&
        EVP_PKEY_CTX_set1_hkdf_key(context, secret, (int)secret_length) > 0 &&
        EVP_PKEY_CTX_add1_hkdf_info(context, info, (int)info_length) > 0 &&
        EVP_PKEY_derive(context, out, &out_length) > 0;
    EVP_PKEY_CTX_free(context);
    return ok;
}

/// TLS 1.3 only, partial writes from moving buffers, no tickets, no sessions kept, and no 34 KiB of buffers for an idle
/// connection. 1 on success.
static inline int copenssl_ssl_context_prepare(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
        SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1 &&
        SSL_CTX_set1_groups_list(context, "X25519") == 1;
}
/// The connection whose peer's certificate is being verified.
static inline SSL *copenssl_verifying_connection(X509_STORE_CTX *store) {
    return X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
}
static inline void copenssl_set_owner(SSL *ssl, void *owner) { SSL_set_app_data(ssl, owner); }
static inline void *copenssl_owner(SSL *ssl) { return SSL_get_app_data(ssl); }
