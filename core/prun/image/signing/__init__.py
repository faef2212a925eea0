"""Signature policies: which images may come in, by containers' ``policy.json`` and cosign's signatures.

    policy      policy.json -> requirements, and which of them are for an image
    identity    whether a signature is about the image that is wanted
    payload     what is signed: cosign's simple signing
    keys        public keys, and whether a signature is of one
    claims      where signatures are found: in a registry, in a layout
    guard       an image is admitted, or refused with the reason

Off unless ``prun.toml`` or ``--signature-policy`` names a policy; nothing here is imported before.
"""
