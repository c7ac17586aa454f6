"""What the admission webhook answers: a request and the cluster's state in, a reply out.

Called by controllers/webhook, which serves it. `review` is the API server's language, `seen` the
parts of objects that are looked at, `approvals` who may decide on a plan or have a policy act
unasked, `advice` what is wrong with a plan or policy beside other objects, `pods` which scheduler a
pod gets and whether it can ever run.
"""
