package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// Files over partBytes go up in parts of it, which become the file with the last request.
	// A part is in memory once for each of partsAtOnce.
	partBytes   = 8 << 20
	partsAtOnce = 1

	// attempts are what the client makes of one request before we hear of trouble; who
	// ships waits longer and tries again.
	attempts = 3

	// A request that takes longer than requestTime, and a file longer than at slowest
	// besides, has failed.
	requestTime = time.Minute
	slowest     = 64 << 10 // bytes/s

	// metaSHA256 is where a file's hash is kept with it.
	metaSHA256 = "Sha256"
)

// bucket is a store that speaks S3.
type bucket struct {
	client       *minio.Client
	keys         *credentials.Credentials
	name, prefix string
}

// newBucket reads s3://BUCKET/PREFIX[?endpoint=URL&region=REGION]. What it does not say is
// taken from the variables that AWS's own tools read.
func newBucket(destination string, getenv func(string) string) (*bucket, error) {
	bad := func(problem string) (*bucket, error) {
		return nil, &DestinationError{hideSecrets(destination), problem}
	}
	u, err := url.Parse(destination)
	if err != nil || u.Host == "" {
		return bad("it has no bucket")
	}
	if u.User != nil {
		return bad("keys do not belong there: give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a role")
	}
	if u.Port() != "" {
		return bad("a host goes into ?endpoint=http://HOST:PORT or AWS_ENDPOINT_URL")
	}
	q := u.Query()
	for k := range q {
		if k != "endpoint" && k != "region" {
			return bad("it knows ?endpoint= and ?region=, not " + k)
		}
	}
	endpoint := cmp.Or(q.Get("endpoint"), getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com")
	e, err := url.Parse(endpoint)
	if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" || e.User != nil {
		return bad("its endpoint is not of the form https://HOST[:PORT]")
	}
	keys := keysFrom(getenv)
	client, err := minio.New(e.Host, &minio.Options{
		Creds: keys, Secure: e.Scheme == "https", MaxRetries: attempts,
		Region: cmp.Or(q.Get("region"), getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
	})
	if err != nil {
		return bad(err.Error())
	}
	return &bucket{client, keys, u.Host, strings.Trim(u.Path, "/")}, nil
}

// keysFrom asks in the order of AWS's tools: variables, the shared file, the machine's or
// the pod's role.
func keysFrom(getenv func(string) string) *credentials.Credentials {
	if id := getenv("AWS_ACCESS_KEY_ID"); id != "" {
		return credentials.NewStaticV4(id, getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN"))
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.FileAWSCredentials{Profile: getenv("AWS_PROFILE")},
		&credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
	})
}

func (b *bucket) String() string { return "s3://" + path.Join(b.name, b.prefix) }

func (b *bucket) key(name string) string { return path.Join(b.prefix, name) }

// ready begins a request.
func (b *bucket) ready(ctx context.Context, bytes int64) (context.Context, context.CancelFunc, error) {
	v, err := b.keys.GetWithContext(b.client.CredContext())
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	if v.SignerType == credentials.SignatureAnonymous {
		return nil, nil, errNoKeys
	}
	ctx, cancel := context.WithTimeoutCause(ctx, requestTime+time.Duration(bytes)*time.Second/slowest, errSlow)
	return ctx, cancel, nil
}

var (
	errNoKeys = errors.New("no credentials: there is no AWS_ACCESS_KEY_ID, no ~/.aws/credentials, and no role of this machine or pod")
	errSlow   = errors.New("it took too long")
)

func (b *bucket) Put(ctx context.Context, name string, content io.ReaderAt, o Object) error {
	ctx, cancel, err := b.ready(ctx, o.Bytes)
	if err != nil {
		return err
	}
	defer cancel()
	if o.Bytes > partBytes {
		// What an upload that was cut off has left is not seen, but paid for. Who may not
		// remove it may still upload.
		_ = b.client.RemoveIncompleteUpload(ctx, b.name, b.key(name))
	}
	_, err = b.client.PutObject(ctx, b.name, b.key(name), io.NewSectionReader(content, 0, o.Bytes), o.Bytes, minio.PutObjectOptions{
		UserMetadata:   map[string]string{metaSHA256: o.SHA256},
		ContentType:    contentType(name),
		SendContentMd5: true, // the store refuses what has arrived otherwise
		PartSize:       partBytes,
		NumThreads:     partsAtOnce,
	})
	return b.explain(ctx, err)
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".parquet":
		return "application/vnd.apache.parquet"
	case ".json":
		return "application/json"
	}
	return "application/octet-stream"
}

// Stat takes the hash that the file was put with: the store has checked each part's own.
func (b *bucket) Stat(ctx context.Context, name string) (Object, error) {
	ctx, cancel, err := b.ready(ctx, 0)
	if err != nil {
		return Object{}, err
	}
	defer cancel()
	info, err := b.client.StatObject(ctx, b.name, b.key(name), minio.StatObjectOptions{})
	if err != nil {
		return Object{}, b.explain(ctx, err)
	}
	return Object{Bytes: info.Size, SHA256: info.UserMetadata[metaSHA256]}, nil
}

func (b *bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	size, err := b.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := b.ready(ctx, size.Bytes)
	if err != nil {
		return nil, err
	}
	o, err := b.client.GetObject(ctx, b.name, b.key(name), minio.GetObjectOptions{})
	if err != nil {
		cancel()
		return nil, b.explain(ctx, err)
	}
	return &object{o, cancel}, nil
}

// object ends its request when it is closed.
type object struct {
	*minio.Object
	cancel context.CancelFunc
}

func (o *object) Close() error {
	defer o.cancel()
	return o.Object.Close()
}

func (b *bucket) Remove(ctx context.Context, name string) error {
	ctx, cancel, err := b.ready(ctx, 0)
	if err != nil {
		return err
	}
	defer cancel()
	return b.explain(ctx, b.client.RemoveObject(ctx, b.name, b.key(name), minio.RemoveObjectOptions{}))
}

// explain says what a code means, where that helps.
func (b *bucket) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	r := minio.ToErrorResponse(err)
	switch r.Code {
	case minio.NoSuchKey:
		return fs.ErrNotExist
	case minio.NoSuchBucket:
		return fmt.Errorf("there is no bucket %s", b.name)
	case minio.AccessDenied:
		return fmt.Errorf("the store denies access to bucket %s: s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket are needed", b.name)
	}
	return err
}
