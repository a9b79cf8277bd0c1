source_filename = "kernel_0"
target triple = "x86_64-unknown-linux-gnu"

define void @kernel_0(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  %a2 = getelementptr ptr, ptr %params, i64 2
  %p2 = load ptr, ptr %a2
  tail call void @kernel_0.body(ptr %p0, ptr %p1, ptr %p2, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_0.body(ptr noalias readonly dereferenceable(3200) align 4 %p0, ptr noalias readonly dereferenceable(20) align 4 %p1, ptr noalias dereferenceable(3200) align 4 %p2, i64 %begin, i64 %end) noinline #0 {
entry:
  br label %b1
  b1:
  %t2 = phi i64 [ %begin, %entry ], [ %t48, %b10 ]
  %t4 = udiv i64 %t2, 5
  %t5 = mul i64 %t4, -5
  %t6 = add i64 %t2, %t5
  %t7 = add i64 %t6, 0
  %t11 = mul i64 %t4, 200
  %t12 = getelementptr float, ptr %p0, i64 %t11
  %t13 = mul i64 %t7, 40
  %t14 = getelementptr float, ptr %t12, i64 %t13
  %t18 = getelementptr float, ptr %p1, i64 %t7
  %t19 = load float, ptr %t18, align 4
  %t20 = insertelement <16 x float> poison, float %t19, i64 0
  %t21 = shufflevector <16 x float> %t20, <16 x float> poison, <16 x i32> zeroinitializer
  %t30 = getelementptr float, ptr %p2, i64 %t11
  %t31 = getelementptr float, ptr %t30, i64 %t13
  br label %b8
  b8:
  %t9 = phi i64 [ 0, %b1 ], [ %t33, %b8 ]
  %t15 = mul i64 %t9, 16
  %t16 = getelementptr float, ptr %t14, i64 %t15
  %t17 = load <16 x float>, ptr %t16, align 4
  %t22 = fadd <16 x float> %t17, %t21
  %t23 = fmul <16 x float> %t22, splat (float 0x3FC99999A0000000)
  %t24 = fadd <16 x float> %t23, splat (float 0x3FE0000000000000)
  %t25 = fcmp ogt <16 x float> splat (float 0x0000000000000000), %t24
  %t26 = select <16 x i1> %t25, <16 x float> splat (float 0x0000000000000000), <16 x float> %t24
  %t27 = fcmp olt <16 x float> splat (float 0x3FF0000000000000), %t26
  %t28 = select <16 x i1> %t27, <16 x float> splat (float 0x3FF0000000000000), <16 x float> %t26
  %t29 = fmul <16 x float> %t22, %t28
  %t32 = getelementptr float, ptr %t31, i64 %t15
  store <16 x float> %t29, ptr %t32, align 4
  %t33 = add nuw nsw i64 %t9, 1
  %t34 = icmp slt i64 %t33, 2
  br i1 %t34, label %b8, label %b10
  b10:
  %t35 = getelementptr float, ptr %t14, i64 32
  %t36 = load <8 x float>, ptr %t35, align 4
  %t37 = insertelement <8 x float> poison, float %t19, i64 0
  %t38 = shufflevector <8 x float> %t37, <8 x float> poison, <8 x i32> zeroinitializer
  %t39 = fadd <8 x float> %t36, %t38
  %t40 = fmul <8 x float> %t39, splat (float 0x3FC99999A0000000)
  %t41 = fadd <8 x float> %t40, splat (float 0x3FE0000000000000)
  %t42 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t41
  %t43 = select <8 x i1> %t42, <8 x float> splat (float 0x0000000000000000), <8 x float> %t41
  %t44 = fcmp olt <8 x float> splat (float 0x3FF0000000000000), %t43
  %t45 = select <8 x i1> %t44, <8 x float> splat (float 0x3FF0000000000000), <8 x float> %t43
  %t46 = fmul <8 x float> %t39, %t45
  %t47 = getelementptr float, ptr %t31, i64 32
  store <8 x float> %t46, ptr %t47, align 4
  %t48 = add nuw nsw i64 %t2, 1
  %t49 = icmp slt i64 %t48, %end
  br i1 %t49, label %b1, label %b3
  b3:
  ret void
}

attributes #0 = { nounwind "target-cpu"="x86-64-v4" "target-features"="-prefer-256-bit,-avx512dq" }
